"""One suite, every strategy: a fixture that opens two workers' deliveries over the same real store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest

import backends
from backends.base import ChatKey
from backends.delivery import Delivery
from tests.conftest import namespace

Open = Callable[..., AbstractAsyncContextManager[Delivery]]

DURABLE = [strategy for strategy in backends.STRATEGIES if not strategy.startswith("memory")]


def url_of(strategy: str, request: pytest.FixtureRequest) -> str:
    """The backend URL of a strategy on this session's real servers."""
    store, delivery = strategy.split("-")
    if store == "memory":
        return f"memory+{delivery}://"
    url: str = request.getfixturevalue(f"{store}_url")
    return url.replace(f"{store}://", f"{store}+{delivery}://")


@pytest.fixture
def open_worker(strategy: str, request: pytest.FixtureRequest) -> Open:
    """Opens one worker's delivery; workers of a memory strategy share nothing, as in real life."""
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
    """Where the abort lands: another worker if the store reaches it, else the same one."""
    async with AsyncExitStack() as stack:
        if strategy.startswith("memory"):
            yield worker
        else:
            yield await stack.enter_async_context(open_worker())


async def until(true: Callable[[], object], deadline_s: float = 10.0) -> None:
    """Return when it is true: for properties of the thing under test, which has no event for a test."""
    async with asyncio.timeout(deadline_s):
        while not true():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


async def forget(store: Any, request_id: str) -> None:
    """Have the store lose what it holds under this id."""
    if store.name == "redis":
        await store._commands.execute(("DEL", store._names.chat(request_id)))
    elif store.name == "memory":
        store._records.pop(request_id, None)
    else:
        await store._fetch("DELETE FROM {schema}.chats_v1 WHERE request_id = $1", request_id)


async def empty(store: Any) -> None:
    """Have the store lose everything, while its connections stay."""
    if store.name == "redis":
        (keys,) = await store._commands.execute(("KEYS", f"{store.options.namespace}:*"))
        await store._commands.execute(*(("DEL", key.decode()) for key in keys))  # others' keys are on the same server
    elif store.name == "postgres":
        await store._fetch("TRUNCATE {schema}.chats_v1")
    else:
        store._records.clear()
        store._heartbeats.clear()


async def publish(worker: Delivery, message: ChatKey | str) -> None:
    """Send this to the worker as the store would."""
    store: Any = worker.store
    request_id = message.request_id if isinstance(message, ChatKey) else ""
    text = f"{message.generation} {message.request_id}" if isinstance(message, ChatKey) else message
    if store.name == "redis":
        *_, command, channel = store._publish_arguments(request_id)
        await store._commands.execute((command, channel + worker.worker, text))
    else:
        channel = f"{store.options.namespace}_abort_{worker.worker}"
        await store._fetch("SELECT pg_notify($1, $2)", channel, text)


_ids = count()


@pytest.fixture
def request_id() -> str:
    return f"chat-{next(_ids)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the faults did to the aborts, fault by fault."""
    rows = [row for report in terminalreporter.stats.get("passed", []) for row in report.user_properties]
    if rows:
        terminalreporter.section("aborts under faults")
        for name, row in rows:
            terminalreporter.line(f"{name} {row}")
