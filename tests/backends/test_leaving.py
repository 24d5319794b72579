"""A worker shuts down even if its store's driver swallows a cancellation."""

import asyncio

import pytest

import backends
from backends import delivery
from backends.base import Chat, State
from backends.errors import StoreUnavailableError
from backends.memory import MemoryStore


async def test_a_swallowed_cancellation_does_not_block_a_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Drivers do that if the connection breaks at the same moment: they raise the connection error instead."""
    monkeypatch.setattr(delivery, "CONFIRM_INTERVAL_S", 0.001)
    reading = asyncio.Event()
    lost = 0

    async def states(_store: MemoryStore, _chats: list[Chat]) -> list[State | None]:
        nonlocal lost
        reading.set()
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
            await reading.wait()
    assert lost == 1
