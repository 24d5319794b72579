"""Push on a real server: one channel per worker, old and invalid messages, half-open connections."""

import asyncio
from urllib.parse import urlsplit

import pytest

import backends
from backends import AbortOutcome
from backends.base import Chat, ChatKey
from backends.delivery import Delivery
from tests.backends.conftest import Open, publish, until, url_of
from tests.backends.proxy import proxy_to
from tests.conftest import namespace

pytestmark = pytest.mark.parametrize("strategy", ["postgres-push", "redis-push"])
DEADLINE_S = 5.0


async def test_a_message_is_sent_only_to_the_owner(worker: Delivery, request_id: str) -> None:
    """The cost of an abort does not grow with the number of workers."""
    store = worker.store
    mine, theirs = Chat(f"{request_id}-a", "1", "me", "worker-a"), Chat(f"{request_id}-b", "1", "me", "worker-b")
    received: asyncio.Queue[ChatKey | None] = asyncio.Queue()
    async with store.listen("worker-b", received.put_nowait), asyncio.timeout(DEADLINE_S):
        for chat in (mine, theirs):
            await store.register(chat)
            await store.flag(chat.request_id, "me", remember=False)
        assert await received.get() == theirs.key


async def test_an_old_message_does_not_stop_a_newer_chat(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me") as signal, worker.watch(f"{request_id}-later", "me") as later:
        await publish(worker, ChatKey(request_id, "an-old-generation"))
        assert await other.abort(f"{request_id}-later", "me") is AbortOutcome.ACCEPTED
        async with asyncio.timeout(DEADLINE_S):
            await later.wait()  # sent after it over the same channel
        assert not signal.aborted


async def test_an_invalid_message_does_not_break_the_listener(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    async with worker.watch(request_id, "me") as signal:
        await publish(worker, "nonsense")
        await until(lambda: worker.counters.dropped == 1)
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        async with asyncio.timeout(DEADLINE_S):
            await signal.wait()
        assert worker.counters.lost == 0


async def test_a_half_open_connection_is_detected_by_its_keep_alive(
    strategy: str, open_worker: Open, request: pytest.FixtureRequest, request_id: str
) -> None:
    """The next renewal is 20 s away, so only the ping can detect it."""
    url = url_of(strategy, request)
    address = urlsplit(url)
    options = backends.Options(namespace=namespace(), keepalive_s=0.5, command_timeout_s=0.5)
    async with (
        proxy_to(str(address.hostname), int(address.port or 0)) as proxy,
        backends.from_url(url.replace(f":{address.port}/", f":{proxy.port}/"), options) as worker,
        open_worker() as other,
        worker.watch(request_id, "me") as signal,
    ):
        assert proxy.freeze() > 0
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        async with asyncio.timeout(DEADLINE_S):
            await signal.wait()
        assert worker.counters.recovered_aborts == 1
        await until(lambda: worker.ready)  # with a new command connection, too
