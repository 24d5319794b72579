"""The contract of all strategies, tested on real servers."""

import asyncio

import pytest

from backends import AbortOutcome, AbortSignal, DuplicateChatError
from backends.delivery import Delivery
from tests.backends.conftest import CONFORMING, Open, expired

pytestmark = pytest.mark.parametrize("strategy", CONFORMING)
DEADLINE_S = 5.0


async def seen(signal: AbortSignal) -> None:
    """Wait until the abort has reached the owner, polling as the relay does; fail after a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        if signal.poll is None:
            await signal.wait()
        else:
            while not await signal.poll():  # noqa: ASYNC110 - poll is a repeated read
                await asyncio.sleep(0)


async def not_seen(signal: AbortSignal, worker: Delivery) -> None:
    """Check that a later abort of another chat has arrived and no abort of this one."""
    async with worker.watch("later", "me") as later:
        assert await worker.abort("later", "me") is AbortOutcome.ACCEPTED
        await seen(later)
    assert not signal.aborted
    if signal.poll is not None:
        assert not await signal.poll()


async def test_an_abort_reaches_the_stream(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me") as signal:
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)


async def test_a_callback_runs_once_with_the_abort(worker: Delivery, other: Delivery, request_id: str) -> None:
    called = []
    async with worker.watch(request_id, "me") as signal:
        signal.on_abort(lambda: called.append("once"))
        assert called == []
        await other.abort(request_id, "me")
        await seen(signal)
        assert signal.set() is False
    assert called == ["once"]


async def test_entering_is_a_barrier(worker: Delivery, other: Delivery, request_id: str) -> None:
    """Under load: an abort sent after `watch` was entered never gets UNKNOWN."""

    async def one(name: str) -> None:
        async with worker.watch(name, "me") as signal:
            assert await other.abort(name, "me") is AbortOutcome.ACCEPTED
            await seen(signal)

    await asyncio.gather(*(one(f"{request_id}-{number}") for number in range(100)))
    assert worker.live == 0


async def test_a_second_abort_is_already_aborted(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me") as signal:
        await other.abort(request_id, "me")
        assert await worker.abort(request_id, "me") is AbortOutcome.ALREADY_ABORTED
        await seen(signal)


async def test_many_aborts_at_once_are_accepted_once(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me") as signal:
        outcomes = await asyncio.gather(*(other.abort(request_id, "me") for _ in range(20)))
        await seen(signal)
    assert sorted(outcomes) == [AbortOutcome.ACCEPTED] + [AbortOutcome.ALREADY_ABORTED] * 19


async def test_a_live_duplicate_is_refused(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me") as signal:
        with pytest.raises(DuplicateChatError):
            async with other.watch(request_id, "me"):
                pytest.fail("two live chats have the same id")
        # The rejected watch has not released the live chat.
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)


async def test_an_old_abort_never_stops_a_newer_chat(worker: Delivery, other: Delivery, request_id: str) -> None:
    for _ in range(3):
        async with worker.watch(request_id, "me") as first:
            await other.abort(request_id, "me")
            await seen(first)
        async with other.watch(request_id, "me") as second:
            await not_seen(second, other)


async def test_an_abort_before_its_chat_is_remembered(worker: Delivery, other: Delivery, request_id: str) -> None:
    assert await other.abort(request_id, "me") is AbortOutcome.REMEMBERED
    async with worker.watch(request_id, "me") as signal:
        assert signal.aborted


async def test_an_early_abort_of_another_owner_stops_nothing(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    assert await other.abort(request_id, "you") is AbortOutcome.REMEMBERED
    async with worker.watch(request_id, "me") as signal:
        await not_seen(signal, worker)


async def test_early_aborts_expire(open_worker: Open, request_id: str, strategy: str) -> None:
    async with open_worker(remember_s=0.05) as worker:
        assert await worker.abort(request_id, "me") is AbortOutcome.REMEMBERED
        await expired(strategy, 0.05)
        async with worker.watch(request_id, "me") as signal:
            await not_seen(signal, worker)


async def test_early_aborts_are_limited(worker: Delivery, request_id: str) -> None:
    worker._early._limit = 20  # the default, 1000, is tested in test_early.py
    outcomes = [await worker.abort(f"{request_id}-{number}", "me") for number in range(21)]
    assert set(outcomes[:20]) == {AbortOutcome.REMEMBERED}
    assert outcomes[20] is AbortOutcome.UNKNOWN
    assert worker.counters.early_refused == 1


async def test_an_abort_after_the_end_leaves_nothing(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me"):
        pass
    assert await other.abort(request_id, "me") is AbortOutcome.UNKNOWN
    async with worker.watch(request_id, "me") as signal:
        await not_seen(signal, worker)


@pytest.mark.parametrize("aborted", [False, True])
async def test_the_end_shows_whether_an_abort_was_recorded(
    worker: Delivery, other: Delivery, request_id: str, aborted: bool
) -> None:
    """Also one that has not reached the chat."""
    async with worker.watch(request_id, "me") as signal:
        if aborted:
            assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        assert not signal.recorded
    assert signal.recorded is aborted


async def test_only_the_owner_may_abort(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me") as signal:
        unknown = await other.abort(f"{request_id}-unknown", "you")
        assert await other.abort(request_id, "you") is unknown is AbortOutcome.REMEMBERED
        await not_seen(signal, worker)
    assert await other.abort(request_id, "you") is unknown  # the end of the chat is not visible to other owners


async def test_ids_and_owners_may_contain_any_printable_text(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    name = f"{request_id} {{x}} 'ünï' ; \"\\ 100%"
    async with worker.watch(name, "an owner with spaces") as signal:
        assert await other.abort(name, "an owner with spaces") is AbortOutcome.ACCEPTED
        await seen(signal)


async def test_a_chat_outlives_its_ttl(open_worker: Open, request_id: str) -> None:
    async with open_worker(ttl_s=0.5) as worker, worker.watch(request_id, "me") as signal:
        await asyncio.sleep(1.1)  # more than twice the TTL
        assert await worker.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await seen(signal)


async def test_records_of_a_dead_worker_expire(open_worker: Open, request_id: str, strategy: str) -> None:
    if strategy.startswith("memory"):
        return  # the memory of a dead process is gone
    async with open_worker() as other:
        async with open_worker(ttl_s=0.2) as dead:
            watch = dead.watch(request_id, "me")
            await watch.__aenter__()
            dead.store.release = _never  # type: ignore[assignment, method-assign]
        with pytest.raises(DuplicateChatError):
            async with other.watch(request_id, "me"):
                pass
        await expired(strategy, 0.2)
        async with other.watch(request_id, "me") as signal:
            await not_seen(signal, other)
        await watch.__aexit__(None, None, None)


async def _never(_chat: object) -> None:
    """In place of the release, which a killed process does not send."""


async def test_a_worker_leaves_no_chats_or_tasks(open_worker: Open, request_id: str) -> None:
    before = asyncio.all_tasks()
    async with open_worker() as worker:
        for number in range(5):
            with pytest.raises(RuntimeError, match="the stream failed"):
                async with worker.watch(f"{request_id}-{number}", "me"):
                    raise RuntimeError("the stream failed")
        assert worker.live == 0
    assert asyncio.all_tasks() == before


async def test_a_failure_during_shutdown_does_not_block_it(open_worker: Open) -> None:
    """A cancellation that coincides with an event must not be swallowed, as wait_for does in Python 3.11."""
    for _ in range(10):
        async with asyncio.timeout(DEADLINE_S):
            async with open_worker() as worker:
                worker._failed.set()
