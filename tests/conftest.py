"""What every room's tests may use: real stores, started once per session, or those that `make bench` would use.

STORES=docker takes containers, REDIS_URL / DATABASE_URL servers of yours, on which only what the tests made is removed.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from bench.stores import Store, open_store

_RUN = f"test_{secrets.token_hex(4)}"
_made: set[str] = set()


def namespace(name: str = "") -> str:
    """A key prefix and schema of this test run's own."""
    made = f"{_RUN}_{name}" if name else _RUN
    _made.add(made)
    return made


os.environ["ABORT_NAMESPACE"] = namespace()  # for every service that a test starts


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with open_store("redis") as store:
        yield store.url
        _forget(store)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with open_store("postgres") as store:
        yield store.url
        _forget(store)


def _forget(store: Store) -> None:
    if store.how == "url":
        for each in _made:
            store.forget(each)
