"""What every room's tests may use: real stores, started once per session, or the ones REDIS_URL / DATABASE_URL name."""

import os
from collections.abc import Iterator

import pytest

from bench.stores import postgres_server, redis_server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    with redis_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    with postgres_server() as server:
        yield server.url
