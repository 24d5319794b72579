"""What every room's tests may use: real stores, started once per session, or those that `make bench` would use.

STORES=docker takes containers, REDIS_URL / DATABASE_URL servers of yours, on which only what the tests made is removed.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.system.stores import Store, open_store
from tests.parallel import EXPRESSIONS, marker_of, parts_of, position_of

_RUN = f"test_{secrets.token_hex(4)}"
_made: set[str] = set()


def namespace(name: str = "") -> str:
    """A key prefix and schema of this test run's own."""
    made = f"{_RUN}_{name}" if name else _RUN
    _made.add(made)
    return made


# Benches that tests start wait for no other one on this machine; those of one test session come one after the other.
os.environ["BENCH_LOCK"] = str(Path(tempfile.gettempdir()) / f"stopwatch-{_RUN}.lock")
os.environ["ABORT_NAMESPACE"] = namespace()  # for every service that a test starts


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file of another part: every process of a part would."""
    for part, expression in EXPRESSIONS.items():
        if config.getoption("markexpr") == expression and part not in parts_of(collection_path):
            return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (marker := marker_of(item.path)) is not None:
            item.add_marker(marker)
    items.sort(key=lambda item: position_of(item.path))


@pytest.fixture(scope="session", autouse=True)
def _lock_of_this_run() -> Iterator[None]:
    yield
    Path(os.environ["BENCH_LOCK"]).unlink(missing_ok=True)


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


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    with open_store("nats") as store:
        yield store.url
        _forget(store)


def _forget(store: Store) -> None:
    if store.how == "url":
        for each in _made:
            store.delete_namespace(each)
