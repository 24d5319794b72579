"""The abort signal of one chat, and the counters of one delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass
class Counters:
    """Events of one worker's delivery since its start (counts)."""

    lost: int = 0  # losses of the store; failed reconnects are not counted
    reconnected: int = 0
    recovered_aborts: int = 0  # aborts found by reading flags, without a message
    repeated_aborts: int = 0  # accepted aborts that the store had lost and that were recorded again
    operations: int = 0  # round trips to the store
    emptied: int = 0  # times the store had lost all records of this worker
    deaf: int = 0  # listeners that were connected but received no heartbeat
    dropped: int = 0  # messages in an unknown format
    early_refused: int = 0  # early aborts rejected because too many were already remembered


class AbortSignal:
    """Signals one chat's stream to end. Set at most once, from the owner's event loop only."""

    __slots__ = ("_callback", "_event", "poll", "recorded")

    def __init__(self, poll: Callable[[], Awaitable[bool]] | None = None) -> None:
        self._event = asyncio.Event()
        self._callback: Callable[[], object] | None = None
        self.poll = poll
        """Await before forwarding each chunk; returns `aborted`. None for a delivery that does not poll."""
        self.recorded = False
        """After the watch: the store held an abort of the chat, whether or not it had reached this worker."""

    @property
    def aborted(self) -> bool:
        """True once the abort has reached this worker."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when the chat has been aborted."""
        await self._event.wait()

    def on_abort(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, synchronously with the abort; immediately if the chat is already aborted."""
        self._callback = callback
        if self.aborted:
            callback()

    def close(self) -> None:
        """Drop what refers to this signal in turn, and would wait for a garbage collection: the chat has ended."""
        self._callback = self.poll = None

    def set(self) -> bool:
        """Mark the chat as aborted; False if it already was."""
        if self._event.is_set():
            return False
        self._event.set()
        if self._callback is not None:
            self._callback()
        return True
