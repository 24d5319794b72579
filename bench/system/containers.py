"""The stores in Docker containers (STORES=docker), through testcontainers: for measuring the real images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from bench.system.embedded import StoreError

NO_SETTINGS: Mapping[str, str] = {}
IMAGES = {"redis": ("REDIS_IMAGE", "redis:8"), "postgres": ("POSTGRES_IMAGE", "postgres:18")}


@contextlib.contextmanager
def container(kind: str, settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[str]:
    """The URL of a fresh `redis` or `postgres` container with these settings, removed afterwards.

    REDIS_IMAGE and POSTGRES_IMAGE choose the image. Raises StoreError without an engine, or without the image.
    """
    from docker.errors import DockerException  # noqa: PLC0415 - only runs in containers need it

    variable, default = IMAGES[kind]
    image = os.environ.get(variable) or default
    try:
        with _made(kind, image, settings) as url:
            yield url
    except DockerException as error:
        raise StoreError(
            f"STORES=docker could not start {image} ({type(error).__name__}): start a Docker engine that has the image "
            f"or can pull it, name another image in {variable}, or unset STORES to use our own servers"
        ) from error


@contextlib.contextmanager
def _made(kind: str, image: str, settings: Mapping[str, str]) -> Iterator[str]:
    if kind == "redis":
        from testcontainers.community.redis import RedisContainer  # noqa: PLC0415 - see above

        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        with RedisContainer(image).with_command(["redis-server", *words]) as redis:
            yield f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
    else:
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - see above

        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with PostgresContainer(image, driver=None).with_command(["postgres", *words]) as postgres:
            yield postgres.get_connection_url().replace("postgresql://", "postgres://")
