"""The stores in Docker containers (STORES=docker), through testcontainers: for measuring the official images."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from bench.system.embedded import StoreError

NO_SETTINGS: Mapping[str, str] = {}
IMAGES = {"redis": ("REDIS_IMAGE", "redis:8"), "postgres": ("POSTGRES_IMAGE", "postgres:18")}


def options(kind: str, settings: Mapping[str, str]) -> list[str]:
    """These settings on the command line of the server."""
    if kind == "redis":
        return [word for name, value in settings.items() for word in (f"--{name}", value)]
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


@contextlib.contextmanager
def container(kind: str, settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[str]:
    """The URL of a new `redis` or `postgres` container with these settings, removed afterwards.

    REDIS_IMAGE and POSTGRES_IMAGE choose the image. Raises StoreError without an engine or the image.
    """
    from docker.errors import DockerException  # noqa: PLC0415 - only runs in containers need it

    variable, default = IMAGES[kind]
    image = os.environ.get(variable) or default
    try:
        with _running(kind, image, settings) as url:
            yield url
    except DockerException as error:
        raise StoreError(
            f"STORES=docker could not start {image} ({type(error).__name__}): start a Docker engine that has the image "
            f"or can pull it, name another image in {variable}, or unset STORES to use our own servers"
        ) from error


@contextlib.contextmanager
def _running(kind: str, image: str, settings: Mapping[str, str]) -> Iterator[str]:
    if kind == "redis":
        from testcontainers.community.redis import RedisContainer  # noqa: PLC0415 - see above

        with RedisContainer(image).with_command(["redis-server", *options(kind, settings)]) as redis:
            yield f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
    else:
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - see above

        with PostgresContainer(image, driver=None).with_command(["postgres", *options(kind, settings)]) as postgres:
            yield postgres.get_connection_url().replace("postgresql://", "postgres://")
