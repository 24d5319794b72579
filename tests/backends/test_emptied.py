"""A store that loses its records while its connections stay open: aborts of running chats are still accepted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

import backends
from backends import AbortOutcome, AbortSignal
from backends.base import State
from backends.delivery import Delivery
from tests.backends.conftest import DURABLE, Open, empty, forget, until
from tests.backends.test_conformance import seen
from tests.backends.test_lives import CHAT, Store

EVERY = pytest.mark.parametrize("strategy", [*backends.STRATEGIES, "redis+cluster-push"])
ACROSS = pytest.mark.parametrize("strategy", [*DURABLE, "redis+cluster-push"])
REPAIRED_S = 1.0
CHUNK_S = 0.02


@asynccontextmanager
async def streaming(worker: Delivery, request_id: str) -> AsyncIterator[AbortSignal]:
    """A live chat of `me` that polls before each chunk if its delivery polls."""

    async def stream() -> None:
        while signal.poll is not None and not await signal.poll():  # noqa: ASYNC110 - poll is a repeated read
            await asyncio.sleep(CHUNK_S)

    async with worker.watch(request_id, "me") as signal:
        chunks = asyncio.create_task(stream())
        try:
            yield signal
        finally:
            chunks.cancel()
            with suppress(asyncio.CancelledError):
                await chunks


@EVERY
async def test_an_abort_is_accepted_after_the_store_was_emptied(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    async with streaming(worker, request_id) as signal:
        await empty(worker.store)
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)
    async with worker.watch(request_id, "me") as newer:
        assert not newer.aborted  # the abort does not affect the next chat with this id


@ACROSS
async def test_an_abort_is_accepted_also_after_a_heartbeat_has_detected_the_loss(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    """The heartbeat of the stopping worker; the owner has not sent its own yet."""
    async with streaming(worker, request_id) as signal:
        await empty(worker.store)
        await other._send_heartbeat()
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)


@ACROSS
async def test_a_chat_that_ends_before_its_abort_is_answered_was_stopped(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    """It is recorded again, aborted and ended between two reads of the stopping worker."""
    for wait_s, answer in ((0.0, AbortOutcome.ACCEPTED), (5.0, AbortOutcome.STOPPED)):
        async with asyncio.TaskGroup() as tasks:
            async with streaming(worker, request_id) as signal:
                await empty(worker.store)
                stop = tasks.create_task(other.abort(request_id, "me", wait_s=wait_s))
                await signal.wait()
            assert await stop is answer


@EVERY
async def test_an_abort_on_the_owner_does_not_need_the_record(worker: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me") as signal:
        await empty(worker.store)
        assert await worker.abort(request_id, "you") is AbortOutcome.REMEMBERED
        assert not signal.aborted
        await empty(worker.store)
        assert await worker.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)
    async with worker.watch(request_id, "me") as newer:
        assert not newer.aborted


@EVERY
async def test_an_abort_on_the_owner_restores_a_lost_record(open_worker: Open, request_id: str) -> None:
    async with open_worker(interval_ms=3.6e6) as worker:
        async with worker.watch(request_id, "me") as signal:
            await forget(worker.store, request_id)
            assert await worker.abort(request_id, "me") is AbortOutcome.ACCEPTED
            assert signal.aborted
        async with worker.watch(request_id, "me") as newer:
            assert not newer.aborted


@EVERY
async def test_a_stop_is_confirmed_also_after_the_store_was_emptied(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    recorded = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        async with streaming(worker, request_id) as signal:
            await empty(worker.store)
            stop = tasks.create_task(other.abort(request_id, "me", wait_s=10, on_record=recorded.set))
            await recorded.wait()
            await seen(signal)
        assert await stop is AbortOutcome.STOPPED


@EVERY
async def test_another_owners_id_looks_unknown_also_after_the_store_was_emptied(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    async with streaming(worker, request_id) as signal:
        await empty(worker.store)
        answers = await asyncio.gather(other.abort(request_id, "you"), other.abort(f"{request_id}-unknown", "you"))
        assert set(answers) == {AbortOutcome.REMEMBERED}
        assert not signal.aborted
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)


@ACROSS
async def test_one_lost_record_is_repaired_by_its_abort(worker: Delivery, other: Delivery, request_id: str) -> None:
    """The heartbeats are still recorded, so the answer may be REMEMBERED; the chat stops all the same."""
    async with streaming(worker, request_id) as signal:
        await forget(worker.store, request_id)
        assert await other.abort(request_id, "me") in (AbortOutcome.ACCEPTED, AbortOutcome.REMEMBERED)
        async with asyncio.timeout(REPAIRED_S):
            await seen(signal)
    async with worker.watch(request_id, "me") as newer:
        assert not newer.aborted


@ACROSS
async def test_a_heartbeat_detects_the_loss_without_any_abort(open_worker: Open, request_id: str) -> None:
    async with open_worker(heartbeat_s=0.1, interval_ms=3.6e6) as worker, worker.watch(request_id, "me") as signal:
        chat = worker._live[request_id].chat
        await empty(worker.store)
        async with asyncio.timeout(REPAIRED_S * 2):
            while await worker.store.states([chat]) != [State.LIVE]:  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0.01)
        await until(lambda: worker.ready)
        assert worker.counters.emptied == 1
        assert not signal.aborted


@ACROSS
async def test_an_unknown_id_is_answered_without_delay_on_a_healthy_store(worker: Delivery, request_id: str) -> None:
    before = worker.counters.operations
    async with asyncio.timeout(REPAIRED_S):
        assert await worker.abort(request_id, "me") is AbortOutcome.REMEMBERED
    assert worker.counters.operations - before == 2


async def test_a_chat_that_ends_while_it_is_recorded_again_is_released() -> None:
    """The store had lost it: its release found no record, and the record was written afterwards."""
    store = Store()
    async with backends.deliveries.PollDelivery(store) as worker:
        async with worker.watch(CHAT, "me"):
            store.gates["renew"] = asyncio.Event()
            await empty(store)
            worker._fail()
            await until(lambda: "renew" in store.calls)
        store.gates["renew"].set()
        await until(lambda: worker.ready)
        async with worker.watch(CHAT, "me"):
            pass
