"""Fixtures for one suite over all strategies: workers' deliveries over the same real store."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest

import backends
from backends.base import ChatKey
from backends.delivery import Delivery
from backends.redis.keys import BUCKETS
from bench.system.embedded import EmbeddedServer
from tests.backends.clusters import MASTERS, Place, cluster_servers
from tests.backends.servers import BreakableServers, breakable_servers
from tests.conftest import namespace

Open = Callable[..., AbstractAsyncContextManager[Delivery]]

CLUSTER = ("redis+cluster-poll", "redis+cluster-timer", "redis+cluster-push")
"""The Redis strategies on a cluster of three masters."""
FOREIGN = os.environ.get("STORE", "")
"""A store of another package, `module:Class` or `module:Class://address`: the conformance suite runs with it alone."""
CONFORMING = [f"foreign-{each}" for each in ("poll", "timer", "push")] if FOREIGN else [*backends.STRATEGIES, *CLUSTER]
DURABLE = [strategy for strategy in backends.STRATEGIES if not strategy.startswith("memory")]


LEAST_S = {"nats": 1.0}
"""The shortest lifetime of a record, where a store rounds it up; it may then remain for twice as long."""


async def expired(strategy: str, lifetime_s: float) -> None:
    """Wait until a record with this lifetime is gone: its expiry has no event."""
    least_s = LEAST_S.get(strategy.partition("-")[0], 0.0)
    await asyncio.sleep(1.2 * lifetime_s if lifetime_s > least_s else 2.1 * least_s)


def url_of(strategy: str, request: pytest.FixtureRequest) -> str:
    """The backend URL of a strategy on the servers of this session."""
    store, delivery = strategy.split("-")
    if store == "foreign":
        name, separator, address = FOREIGN.partition("://")
        return f"{name}+{delivery}{separator}{address}"
    if store == "memory":
        return f"memory+{delivery}://"
    url: str = request.getfixturevalue(f"{store.replace('+', '_')}_url")
    return url.replace(f"{store}://", f"{store}+{delivery}://")


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    with cluster_servers((Place(),) * MASTERS) as servers:
        yield servers.url


@pytest.fixture
def open_worker(strategy: str, request: pytest.FixtureRequest) -> Open:
    """Opens one worker's delivery; workers of a memory strategy share nothing, as in production."""
    url = url_of(strategy, request)

    @asynccontextmanager
    async def open_one(**options: Any) -> AsyncIterator[Delivery]:
        defaults: dict[str, Any] = {"interval_ms": 20.0, "namespace": namespace()}
        settings = backends.Options(**(defaults | options))
        async with backends.from_url(url, settings) as delivery:
            yield delivery

    return open_one


@pytest.fixture
async def worker(open_worker: Open) -> AsyncIterator[Delivery]:
    async with open_worker() as delivery:
        yield delivery


@pytest.fixture
async def other(worker: Delivery, open_worker: Open, strategy: str) -> AsyncIterator[Delivery]:
    """The worker that gets the abort: another one if the store is shared, else the same one."""
    async with AsyncExitStack() as stack:
        if strategy.startswith("memory"):
            yield worker
        else:
            yield await stack.enter_async_context(open_worker())


async def until(condition: Callable[[], object], deadline_s: float = 10.0) -> None:
    """Wait until the condition is true: for state of the code under test that has no event."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


async def forget(store: Any, request_id: str) -> None:
    """Delete the record of this id from the store."""
    if store.name == "redis":
        await store._commands.execute(("DEL", store._names.chat(request_id)))
    elif store.name == "nats":
        _, bucket = await store._connected()
        await bucket.purge(f"chat.{request_id.encode().hex()}")
    elif store.name == "memory":
        store._records.pop(request_id, None)
    else:
        await store._fetch("DELETE FROM {schema}.chats_v1 WHERE request_id = $1", request_id)


async def empty(store: Any) -> None:
    """Delete all records from the store, without closing connections."""
    if store.name == "redis":
        # In a cluster each of them goes to one server. Other tests use the same servers.
        patterns = [("KEYS", f"{store._names._tag(bucket)}*") for bucket in range(BUCKETS)]
        keys = [key.decode() for found in await store._commands.execute(*patterns) for key in found]
        await store._commands.execute(*(("DEL", key) for key in keys))
    elif store.name == "postgres":
        await store._fetch("TRUNCATE {schema}.chats_v1")
    elif store.name == "nats":
        client, _ = await store._connected()
        await client.jetstream().purge_stream(f"KV_{store.options.namespace}")
    else:
        store._records.clear()
        store._heartbeats.clear()


async def publish(worker: Delivery, message: ChatKey | str) -> None:
    """Send this message to the worker as the store would."""
    store: Any = worker.store
    request_id = message.request_id if isinstance(message, ChatKey) else ""
    text = f"{message.generation} {message.request_id}" if isinstance(message, ChatKey) else message
    if store.name == "redis":
        *_, command, channel = store._publish_arguments(request_id)
        await store._commands.execute((command, channel + worker.worker, text))
    elif store.name == "nats":
        client, _ = await store._connected()
        await client.publish(store._subject(worker.worker), text.encode())
    else:
        channel = f"{store.options.namespace}_abort_{worker.worker}"
        await store._fetch("SELECT pg_notify($1, $2)", channel, text)


@pytest.fixture(scope="session")
def servers() -> Iterator[BreakableServers]:
    with breakable_servers() as servers:
        yield servers


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: BreakableServers) -> EmbeddedServer:
    """The configured server of the kind in the parameter, to be broken. Its process may not be ours, see `command`."""
    return servers.configured(request.param)


@pytest.fixture
def own_server(request: pytest.FixtureRequest, servers: BreakableServers) -> EmbeddedServer:
    """A server process of ours, of the kind in the parameter, to be broken."""
    return servers.embedded(request.param)


_ids = count()


@pytest.fixture
def request_id() -> str:
    return f"chat-{next(_ids)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the results of the fault tests, one line per fault."""
    rows = [row for report in terminalreporter.stats.get("passed", []) for row in report.user_properties]
    if rows:
        terminalreporter.section("aborts under faults")
        for name, row in rows:
            terminalreporter.line(f"{name} {row}")
