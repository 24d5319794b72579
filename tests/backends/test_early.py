"""Aborts before their chats: so many at a time, each for a while from its last press on."""

import asyncio
import time

import pytest

import backends
from backends import AbortOutcome
from backends.early import EarlyAborts
from tests.backends.conftest import Open


def test_places_are_kept_given_back_and_free_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    early = EarlyAborts(2, remember_s=10)
    assert early.reserve("me", "a")
    assert early.reserve("me", "b")
    assert not early.reserve("me", "c")
    assert early.reserve("me", "a")  # it has its place already
    early.cancel("me", "b")
    assert early.reserve("you", "a")
    now_s += 10.1
    assert early.reserve("me", "c")
    assert early.reserve("me", "d")
    assert not early.reserve("me", "e")


async def test_a_crowd_cannot_pass_the_bound() -> None:
    async with backends.from_url("memory+push://") as worker:
        outcomes = await asyncio.gather(*(worker.abort(f"early-{number}", "me") for number in range(1010)))
    assert outcomes.count(AbortOutcome.REMEMBERED) == 1000


@pytest.mark.parametrize("strategy", ["memory-push", "postgres-push", "redis-push"])
async def test_a_second_press_is_remembered_from_then_on(open_worker: Open, request_id: str) -> None:
    async with open_worker(remember_s=2.0) as worker:
        for _ in range(2):
            assert await worker.abort(request_id, "me") is AbortOutcome.REMEMBERED
            await asyncio.sleep(1.2)  # the expiry itself is what is tested
        async with worker.watch(request_id, "me") as signal:
            assert signal.aborted
