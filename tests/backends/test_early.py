"""Early aborts: limited in number, and in time since the last request."""

import asyncio
import time

import pytest

import backends
from backends import AbortOutcome
from backends.early import EarlyAborts
from tests.backends.conftest import Open


def test_places_are_kept_cancelled_and_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    early = EarlyAborts(2, remember_s=10)
    assert early.reserve("me", "a")
    assert early.reserve("me", "b")
    assert not early.reserve("me", "c")
    assert early.reserve("me", "a")  # keeps its place
    early.cancel("me", "b")
    assert early.reserve("you", "a")
    now_s += 10.1
    assert early.reserve("me", "c")
    assert early.reserve("me", "d")
    assert not early.reserve("me", "e")


async def test_concurrent_aborts_cannot_exceed_the_limit() -> None:
    async with backends.from_url("memory+push://") as worker:
        outcomes = await asyncio.gather(*(worker.abort(f"early-{number}", "me") for number in range(1010)))
    assert outcomes.count(AbortOutcome.REMEMBERED) == 1000


@pytest.mark.parametrize("strategy", ["memory-push", "postgres-push", "redis-push"])
async def test_a_repeated_abort_restarts_its_time(open_worker: Open, request_id: str) -> None:
    async with open_worker(remember_s=0.8) as worker:
        for _ in range(2):
            assert await worker.abort(request_id, "me") is AbortOutcome.REMEMBERED
            await asyncio.sleep(0.5)  # together longer than remember_s
        async with worker.watch(request_id, "me") as signal:
            assert signal.aborted
