"""What a stream learns of its abort, and what a delivery counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass
class Counters:
    """What happened to one worker's delivery since it started (counts)."""

    lost: int = 0  # how often the store was lost; tries to find it again are not counted
    reconnected: int = 0
    recovered_aborts: int = 0  # aborts found by re-reading that no message had told of
    repeated_aborts: int = 0  # accepted aborts that the store had lost, recorded again
    operations: int = 0  # round trips to the store
    emptied: int = 0  # how often the store had lost all of this worker's records
    deaf: int = 0  # how often a listener's connection lived and no heartbeat came through it
    dropped: int = 0  # messages to the listener that were none of ours
    early_refused: int = 0  # aborts that came before their chat while too many were being remembered


class AbortSignal:
    """Tells one chat's stream that it shall end. Set at most once, from the owner's event loop only."""

    __slots__ = ("_callback", "_event", "poll")

    def __init__(self, poll: Callable[[], Awaitable[bool]] | None = None) -> None:
        self._event = asyncio.Event()
        self._callback: Callable[[], object] | None = None
        self.poll = poll
        """To be awaited before each chunk is forwarded; None when nothing needs to be read there."""

    @property
    def aborted(self) -> bool:
        """True once the owner knows of the abort."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when the chat has been aborted."""
        await self._event.wait()

    def on_abort(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, in the moment of the abort; at once if that is past."""
        self._callback = callback
        if self.aborted:
            callback()

    def set(self) -> bool:
        """Mark the chat as aborted; False if it already was."""
        if self._event.is_set():
            return False
        self._event.set()
        if self._callback is not None:
            self._callback()
        return True
