"""A store that loses its records while its connections stay: a running chat is not "not found" for long."""

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

EVERY = pytest.mark.parametrize("strategy", backends.STRATEGIES)
ACROSS = pytest.mark.parametrize("strategy", DURABLE)
REPAIRED_S = 1.0
CHUNK_S = 0.02


@asynccontextmanager
async def streaming(worker: Delivery, request_id: str) -> AsyncIterator[AbortSignal]:
    """A live chat of `me` that reads its flag before each chunk, if it is one that reads."""

    async def stream() -> None:
        while signal.poll is not None and not await signal.poll():  # noqa: ASYNC110 - reading again is what poll is
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
async def test_a_stop_is_accepted_at_once_though_the_store_was_emptied(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    async with streaming(worker, request_id) as signal:
        await empty(worker.store)
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)
    async with worker.watch(request_id, "me") as newer:
        assert not newer.aborted  # nothing of that abort is left for the next life


@ACROSS
async def test_a_stop_is_accepted_also_when_a_heartbeat_has_found_out_before(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    """On the stopper's side: the owner's own is still to come."""
    async with streaming(worker, request_id) as signal:
        await empty(worker.store)
        await other._send_heartbeat()
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)


@ACROSS
async def test_a_chat_that_ends_before_its_stop_is_answered_was_stopped(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    """Found again, met by the abort and over, all between two looks of the worker that took the Stop."""
    for wait_s, answer in ((0.0, AbortOutcome.ACCEPTED), (5.0, AbortOutcome.STOPPED)):
        async with asyncio.TaskGroup() as tasks:
            async with streaming(worker, request_id) as signal:
                await empty(worker.store)
                stop = tasks.create_task(other.abort(request_id, "me", wait_s=wait_s))
                await signal.wait()
            assert await stop is answer


@EVERY
async def test_a_stop_on_the_owner_itself_is_answered_by_what_it_knows(worker: Delivery, request_id: str) -> None:
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
async def test_one_lost_record_is_nothing_to_its_own_worker(open_worker: Open, request_id: str) -> None:
    async with open_worker(interval_ms=3.6e6) as worker:
        async with worker.watch(request_id, "me") as signal:
            await forget(worker.store, request_id)
            assert await worker.abort(request_id, "me") is AbortOutcome.ACCEPTED
            assert signal.aborted
        async with worker.watch(request_id, "me") as newer:
            assert not newer.aborted


@EVERY
async def test_a_confirmed_stop_is_confirmed_also_then(worker: Delivery, other: Delivery, request_id: str) -> None:
    recorded = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        async with streaming(worker, request_id) as signal:
            await empty(worker.store)
            stop = tasks.create_task(other.abort(request_id, "me", wait_s=10, on_record=recorded.set))
            await recorded.wait()
            await seen(signal)
        assert await stop is AbortOutcome.STOPPED


@EVERY
async def test_somebody_elses_id_looks_unknown_also_then(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with streaming(worker, request_id) as signal:
        await empty(worker.store)
        answers = await asyncio.gather(other.abort(request_id, "you"), other.abort(f"{request_id}-unknown", "you"))
        assert set(answers) == {AbortOutcome.REMEMBERED}
        assert not signal.aborted
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)


@ACROSS
async def test_one_lost_record_is_repaired_when_its_stop_comes(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    """The heartbeats are still there, so the answer is "not found yet", and honest: it stops all the same."""
    async with streaming(worker, request_id) as signal:
        await forget(worker.store, request_id)
        assert await other.abort(request_id, "me") in (AbortOutcome.ACCEPTED, AbortOutcome.REMEMBERED)
        async with asyncio.timeout(REPAIRED_S):
            await seen(signal)
    async with worker.watch(request_id, "me") as newer:
        assert not newer.aborted


@ACROSS
async def test_a_heartbeat_finds_out_though_nobody_stops_anything(open_worker: Open, request_id: str) -> None:
    async with open_worker(heartbeat_s=0.1, interval_ms=3.6e6) as worker, worker.watch(request_id, "me") as signal:
        chat = worker._live[request_id].chat
        await empty(worker.store)
        async with asyncio.timeout(REPAIRED_S * 2):
            while await worker.store.states([chat]) != [State.LIVE]:  # noqa: ASYNC110 - the store's, no event of ours
                await asyncio.sleep(0.01)
        await until(lambda: worker.ready)
        assert worker.counters.emptied == 1
        assert not signal.aborted


@ACROSS
async def test_an_unknown_id_is_answered_at_once_while_nothing_is_wrong(worker: Delivery, request_id: str) -> None:
    before = worker.counters.operations
    async with asyncio.timeout(REPAIRED_S):
        assert await worker.abort(request_id, "me") is AbortOutcome.REMEMBERED
    assert worker.counters.operations - before == 2


async def test_a_chat_that_ends_while_it_is_recorded_again_does_not_stay() -> None:
    """The store had lost it: its release found nothing to release, and its record came afterwards."""
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
