"""A worker's connection to its store, beside the chats: heartbeats, renewals, and the repair after every failure."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from backends.base import Chat, ChatKey, State, Store, StoreUnavailableError
from backends.lasting import LOG, backoff_s
from backends.signals import AbortSignal, Counters

RECHECK_S = 0.5
"""A worker whose listener is down reads its flags this often: the longest that an abort waits then."""
_ABORTED = (State.ABORTED, State.REPEATED)


@dataclass
class Watched:
    """A live chat of this worker; `registered` when the store holds it, or will as soon as it is back."""

    chat: Chat
    signal: AbortSignal
    registered: bool = False


class Keeper:
    """Keeps the store's records of this worker's live chats right, and finds out whether aborts can reach them.

    - A heartbeat every `heartbeat_s`, also when no chat is live, proves that the store takes writes. A store that has
      lost the last one was emptied: everything is recorded again.
    - Live chats are renewed before their records expire, and each renewal also reads their flags. After any failure the
      same renewal runs until it succeeds, which restores what the store lost and finds the aborts accepted meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.worker = secrets.token_hex(8)
        self.counters = Counters()
        self.last_error: StoreUnavailableError | None = None
        """The store's last failure; kept after the recovery, for the log."""
        self._live: dict[str, Watched] = {}  # by request id: no two live chats here have the same
        self._unreleased: dict[ChatKey, tuple[Chat, float]] = {}  # ended here, but the store could not be told
        self._accepted: dict[str, tuple[Chat, float]] = {}  # aborts accepted here, until they took effect; by id
        self._failed = asyncio.Event()
        self._failures = 0
        self._beats = 0
        self._beat_s = time.monotonic()  # when the last heartbeat was sent
        self._proven_s = time.monotonic()  # when the last heartbeat came through
        self._emptied_s = -math.inf

    @property
    def ready(self) -> bool:
        """False while an abort might be recorded that would not reach this worker."""
        options = self.store.options
        fresh = self.heartbeat_age_s < options.heartbeat_s + 2 * options.command_timeout_s
        return fresh and not self._failed.is_set()

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since a heartbeat of this worker last came through."""
        return time.monotonic() - self._proven_s

    @property
    def live(self) -> int:
        """How many chats this worker is watching."""
        return len(self._live)

    @property
    def _receives(self) -> bool:
        """Whether aborts reach the chats without the keeper's re-reading."""
        return True

    def _ask(self) -> Store:
        """The store, for one more round trip."""
        self.counters.operations += 1
        return self.store

    def _fail(self, error: StoreUnavailableError | None = None) -> None:
        """The store did not answer, or has lost something: the keeper has to renew."""
        self.last_error = error or self.last_error
        self._failures += 1
        self._failed.set()
        # What was accepted here for chats that are here needs no store, which may have lost it.
        self._set([chat.key for chat, _ in self._accepted.values()])

    def _set(self, keys: Iterable[ChatKey]) -> int:
        """Signal those of the chats that are still here; how many had not known."""
        known = 0
        for key in keys:
            watched = self._live.get(key.request_id)
            if watched is not None and watched.chat.generation == key.generation:
                known += watched.signal.set()
        return known

    def _registered(self) -> list[Chat]:
        return [watched.chat for watched in self._live.values() if watched.registered]

    async def _read(self, chats: list[Chat]) -> int:
        """Read the flags of these chats and signal the aborted ones; how many had not known.

        Raises `StoreUnavailableError` also for a chat that the store has lost.
        """
        states = await self._ask().states(chats)
        found = self._set(chat.key for chat, state in zip(chats, states, strict=True) if state in _ABORTED)
        for chat, state in zip(chats, states, strict=True):
            watched = self._live.get(chat.request_id)
            if state is None and watched is not None and watched.chat == chat:
                raise StoreUnavailableError("the store has lost a live chat")
        return found

    async def _reread(self) -> None:
        """Read the flags of all live chats, whose messages may be lost. Raises as `_read` does."""
        if chats := self._registered():
            found = await self._read(chats)  # awaited before the sum: other tasks count, too
            self.counters.recovered_aborts += found

    async def _renew(self) -> None:
        """Every live chat is recorded and its flag read, also of those that are on their way into the store."""
        for chat, ended_s in tuple(self._unreleased.values()):
            if ended_s < time.monotonic() - self.store.options.ttl_s:
                self._unreleased.pop(chat.key, None)  # the store has forgotten it by itself
            else:
                await self._release(chat)
        chats = [watched.chat for watched in self._live.values()]
        await self._record(*chats)

    async def _record(self, *chats: Chat) -> None:
        """Record these chats and signal the aborted ones."""
        must_end = await self._ask().renew(chats)
        self.counters.recovered_aborts += self._set(must_end)
        for chat in chats:
            watched = self._live.get(chat.request_id)
            if watched is None or watched.chat != chat:
                # It ended meanwhile. If the store had lost it, it was released first and recorded then.
                await self._release(chat)

    async def _release(self, chat: Chat) -> None:
        await self._ask().release(chat)
        self._unreleased.pop(chat.key, None)

    async def _beat(self) -> int:
        """The store has taken a heartbeat with this number. Raises `StoreUnavailableError`."""
        limit_s = self.store.options.command_timeout_s
        first = self._beats == 0
        self._beats += 1
        number, self._beat_s = self._beats, time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                held = await self._ask().beat(self.worker, number)
        except TimeoutError:
            raise StoreUnavailableError(f"the store did not take a heartbeat within {limit_s:g} s") from None
        if not held and not first:
            self._emptied_s = time.monotonic()
            self.counters.emptied += 1
            LOG.warning("the store was emptied: %d live chats are recorded again", self.live)
            self._fail(StoreUnavailableError("the store was emptied"))
        return number

    async def _check_path(self) -> None:
        """Send a heartbeat, and see it come through. Raises `StoreUnavailableError`."""
        await self._beat()
        self._proven_s = time.monotonic()

    async def _keep(self) -> None:
        """Send heartbeats and renew the live chats three times per TTL; after a failure both, until they succeed."""
        options = self.store.options
        retries = 0
        renewed_s = time.monotonic()
        while True:
            renew_s, beat_s = renewed_s + options.ttl_s / 3, self._beat_s + options.heartbeat_s
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(min(renew_s, beat_s) - time.monotonic(), RECHECK_S))):
                    await self._failed.wait()
            failed, failures, now_s = self._failed.is_set(), self._failures, time.monotonic()
            try:
                if failed or now_s >= renew_s:
                    await self._renew()
                    renewed_s = now_s
                elif not self._receives:
                    await self._reread()
                if failed or now_s >= beat_s:
                    await self._check_path()
            except StoreUnavailableError as error:
                self._fail(error)
                self.counters.lost += retries == 0
                await asyncio.sleep(backoff_s(retries))
                retries += 1
            else:
                retries = 0
                if failures == self._failures:
                    self._failed.clear()
                elif failed:  # something failed during the renewal, which may not know of it
                    await asyncio.sleep(backoff_s(retries))
