"""Heartbeats: they check store and listener also without chats, and what they cost."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from redis.asyncio import Redis

import backends
from backends import StoreUnavailableError
from backends.base import HEARTBEAT, ChatKey, Options
from backends.delivery import Delivery
from bench.system.embedded import EmbeddedServer
from tests.backends.conftest import Open, empty, until
from tests.conftest import namespace

HEARTBEAT_S = 0.05
HEARTBEATS = 10
EVERY = pytest.mark.parametrize("strategy", backends.STRATEGIES)
PUSH = pytest.mark.parametrize("strategy", ["postgres-push", "redis-push", "nats-push"])
REDIS_CALLS = 3  # the script and, as Redis counts them, its SET and PUBLISH


@EVERY
async def test_heartbeats_are_received_periodically(open_worker: Open) -> None:
    async with open_worker(heartbeat_s=HEARTBEAT_S) as worker:
        for _ in range(HEARTBEATS):
            received_s = worker._heartbeat_received_s
            await until(lambda before=received_s: worker._heartbeat_received_s > before)  # type: ignore[misc]
        assert worker.ready
        assert 0 <= worker.heartbeat_age_s < 5
        assert (worker.counters.lost, worker.counters.deaf, worker.counters.emptied) == (0, 0, 0)


@EVERY
async def test_a_store_that_takes_no_writes_makes_the_worker_not_ready(
    open_worker: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without chats, and with working reads, only the heartbeat detects it."""

    async def read_only(_worker: str, _number: int) -> bool:
        raise StoreUnavailableError("READONLY You can't write against a read only replica.")

    async with open_worker(heartbeat_s=HEARTBEAT_S) as worker:
        assert worker.ready
        with monkeypatch.context() as patched:
            patched.setattr(worker.store, "heartbeat", read_only)
            await until(lambda: not worker.ready)
            tries = worker.counters.operations
            await until(lambda: worker.counters.operations > tries + 4)  # also after renewals
            assert not worker.ready
            assert "READONLY" in str(worker.last_error)
        await until(lambda: worker.ready)
        assert worker.counters.lost == 1


@EVERY
async def test_a_heartbeat_without_an_answer_times_out(open_worker: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_worker: str, _number: int) -> bool:
        await asyncio.Event().wait()
        return True

    async with open_worker(heartbeat_s=HEARTBEAT_S, command_timeout_s=0.2) as worker:
        with monkeypatch.context() as patched:
            patched.setattr(worker.store, "heartbeat", never)
            await until(lambda: not worker.ready)
            assert "heartbeat within 0.2 s" in str(worker.last_error)
        await until(lambda: worker.ready)


@EVERY
async def test_a_worker_cannot_start_without_a_heartbeat(open_worker: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_only(_self: object, _worker: str, _number: int) -> bool:
        raise StoreUnavailableError("READONLY")

    async with open_worker() as worker:
        kind = type(worker.store)
    monkeypatch.setattr(kind, "heartbeat", read_only)
    with pytest.raises(StoreUnavailableError, match="READONLY"):
        async with open_worker():
            pytest.fail("the worker started")


@EVERY
async def test_a_store_reports_whether_it_held_the_previous_heartbeat(worker: Delivery, request_id: str) -> None:
    store = worker.store
    assert [await store.heartbeat(request_id, number) for number in (1, 2, 3)] == [False, True, True]
    assert await store.heartbeat(f"{request_id}-another", 1) is False
    assert await store.seek(request_id, "a-chat")
    await empty(store)
    assert not await store.seek(request_id, "a-chat")
    assert [await store.heartbeat(request_id, number) for number in (4, 5)] == [False, True]


@PUSH
async def test_a_heartbeat_is_sent_only_to_its_own_worker(worker: Delivery) -> None:
    received: asyncio.Queue[ChatKey | None] = asyncio.Queue()
    async with worker.store.listen("worker-b", received.put_nowait):
        await worker.store.heartbeat("worker-a", 1)
        await worker.store.heartbeat("worker-b", 2)
        async with asyncio.timeout(5):
            assert await received.get() == ChatKey("2", HEARTBEAT)


@EVERY
async def test_a_heartbeat_is_one_operation_and_the_only_cost_of_an_idle_chat(open_worker: Open, strategy: str) -> None:
    """With the default interval well below one operation per worker and second."""
    async with open_worker(heartbeat_s=HEARTBEAT_S, interval_ms=3.6e6) as worker, worker.watch("quiet", "me"):
        heartbeats, operations = worker._heartbeats_sent, worker.counters.operations
        await until(lambda: worker._heartbeats_sent >= heartbeats + HEARTBEATS)
        per_heartbeat = (worker.counters.operations - operations) / (worker._heartbeats_sent - heartbeats)
        assert per_heartbeat <= (1.1 if strategy.startswith("memory") else 1.5)  # a late one is followed by a read
    assert per_heartbeat / Options().heartbeat_s < 1


@pytest.mark.parametrize("delivery", ["poll", "push"])
@pytest.mark.parametrize("own_server", ["redis"], indirect=True)
async def test_redis_counts_less_than_one_command_per_second(own_server: EmbeddedServer, delivery: str) -> None:
    """On a server of its own: services of other tests send heartbeats to theirs."""
    url = own_server.url.replace("redis://", f"redis+{delivery}://")
    options = Options(heartbeat_s=HEARTBEAT_S, namespace=namespace("counted"))
    async with Redis.from_url(own_server.url) as redis, backends.from_url(url, options) as worker:
        await until(lambda: worker._heartbeats_sent >= 2)  # the server has the script now
        operations, before = worker.counters.operations, await _calls(redis)
        await until(lambda: worker.counters.operations >= operations + HEARTBEATS)
        calls, operations = await _calls(redis) - before, worker.counters.operations - operations
    assert calls.total() <= REDIS_CALLS * (operations + 1), calls
    assert Options().heartbeat_s >= REDIS_CALLS
    assert Options().silence_s > Options().heartbeat_s  # no PING in between


async def _calls(redis: Any) -> Counter[str]:
    stats: dict[str, dict[str, int]] = await redis.info("commandstats")
    return Counter({name: stat["calls"] for name, stat in stats.items() if name != "cmdstat_info"})
