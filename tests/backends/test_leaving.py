"""A worker that is told to end does end, whatever its store's driver makes of the cancellation."""

import asyncio

import pytest

import backends
from backends import delivery
from backends.base import Chat, State
from backends.errors import StoreUnavailableError
from backends.memory import MemoryStore


async def test_a_driver_that_loses_a_cancellation_keeps_no_worker_from_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As drivers do when the connection they were waiting on breaks in the same moment: they report that instead."""
    monkeypatch.setattr(delivery, "CONFIRM_INTERVAL_S", 0.001)
    asking = asyncio.Event()
    lost = 0

    async def states(_store: MemoryStore, _chats: list[Chat]) -> list[State | None]:
        nonlocal lost
        asking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if lost == 0:
                lost += 1
                raise StoreUnavailableError("the connection broke") from None
            raise
        return []

    async with asyncio.timeout(10):
        async with backends.from_url("memory+push://") as worker, worker.watch("a-chat", "me"):
            monkeypatch.setattr(MemoryStore, "states", states)
            assert await worker.abort("a-chat", "me") is backends.AbortOutcome.ACCEPTED
            await asking.wait()
    assert lost == 1
