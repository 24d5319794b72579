"""One worker's session with its store: heartbeats, renewals, and repair after a failure."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from backends.base import Chat, ChatKey, State, Store
from backends.errors import StoreUnavailableError
from backends.signals import AbortSignal, Counters
from backends.supervise import LOG, backoff_s

RECHECK_S = 0.5
"""Interval between reads of the flags while the listener is down: the longest that an abort waits then."""
_ABORTED = (State.ABORTED, State.REPEATED)


@dataclass
class LiveChat:
    """A live chat of this worker; `registered` when the store holds its record, or will as soon as it is back."""

    chat: Chat
    signal: AbortSignal
    registered: bool = False


class StoreSession:
    """Keeps the store's records of this worker's live chats correct, and reports whether aborts can reach them.

    - A heartbeat every `heartbeat_s`, also without live chats, checks that the store takes writes. If the store has
      lost the previous one, it was emptied, and everything is recorded again.
    - Live chats are renewed before their records expire; each renewal also reads their flags. After any failure the
      renewal is repeated until it succeeds: it restores lost records and finds aborts accepted in between.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.worker = secrets.token_hex(8)
        self.counters = Counters()
        self.last_error: StoreUnavailableError | None = None
        """The store's last failure; kept after the recovery, for the log."""
        self._live: dict[str, LiveChat] = {}  # by request id, unique among the live chats of a worker
        self._unreleased: dict[ChatKey, tuple[Chat, float]] = {}  # ended, but the release failed; and when (s)
        self._accepted: dict[str, tuple[Chat, float]] = {}  # by request id: aborts accepted here and not yet effective
        self._failed = asyncio.Event()
        self._failures = 0
        self._heartbeats_sent = 0
        self._heartbeat_sent_s = time.monotonic()
        self._heartbeat_received_s = time.monotonic()
        self._emptied_s = -math.inf

    @property
    def ready(self) -> bool:
        """False while an abort could be recorded without reaching this worker."""
        options = self.store.options
        fresh = self.heartbeat_age_s < options.heartbeat_s + 2 * options.command_timeout_s
        return fresh and not self._failed.is_set()

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since a heartbeat of this worker was last received."""
        return time.monotonic() - self._heartbeat_received_s

    @property
    def live(self) -> int:
        """Number of live chats of this worker."""
        return len(self._live)

    @property
    def _receives_aborts(self) -> bool:
        """Whether aborts reach the chats without this session reading the flags."""
        return True

    def _counted_store(self) -> Store:
        """The store; counts one operation."""
        self.counters.operations += 1
        return self.store

    def _fail(self, error: StoreUnavailableError | None = None) -> None:
        """Report that the store did not answer or lost data: a renewal is needed."""
        self.last_error = error or self.last_error
        self._failures += 1
        self._failed.set()
        # Aborts accepted here for chats of this worker do not need the store, which may have lost them.
        self._signal_aborts([chat.key for chat, _ in self._accepted.values()])

    def _signal_aborts(self, keys: Iterable[ChatKey]) -> int:
        """Signal those of the chats that are live here; return how many were not yet signalled."""
        signalled = 0
        for key in keys:
            live = self._live.get(key.request_id)
            if live is not None and live.chat.generation == key.generation:
                signalled += live.signal.set()
        return signalled

    def _registered_chats(self) -> list[Chat]:
        return [live.chat for live in self._live.values() if live.registered]

    async def _read_flags(self, chats: list[Chat]) -> int:
        """Read the flags of these chats and signal the aborted ones; return how many were not yet signalled.

        Raises `StoreUnavailableError` also if the store has lost a chat.
        """
        states = await self._counted_store().states(chats)
        found = self._signal_aborts(chat.key for chat, state in zip(chats, states, strict=True) if state in _ABORTED)
        for chat, state in zip(chats, states, strict=True):
            live = self._live.get(chat.request_id)
            if state is None and live is not None and live.chat == chat:
                raise StoreUnavailableError("the store has lost the record of a live chat")
        return found

    async def _reread_flags(self) -> None:
        """Read the flags of all live chats, because messages may have been lost. Raises as `_read_flags` does."""
        if chats := self._registered_chats():
            found = await self._read_flags(chats)  # awaited before the addition: other tasks count, too
            self.counters.recovered_aborts += found

    async def _renew(self) -> None:
        """Record every live chat and read its flag, including chats whose registration is still in progress."""
        for chat, ended_s in tuple(self._unreleased.values()):
            if ended_s < time.monotonic() - self.store.options.ttl_s:
                self._unreleased.pop(chat.key, None)  # its record has expired
            else:
                await self._release(chat)
        await self._record(*(live.chat for live in self._live.values()))

    async def _record(self, *chats: Chat) -> None:
        """Record these chats and signal the aborted ones."""
        must_end = await self._counted_store().renew(chats)
        self.counters.recovered_aborts += self._signal_aborts(must_end)
        for chat in chats:
            live = self._live.get(chat.request_id)
            if live is None or live.chat != chat:
                # It ended during the renewal. If the store had lost it, it was released first and recorded afterwards.
                await self._release(chat)

    async def _release(self, chat: Chat) -> bool:
        aborted = await self._counted_store().release(chat)
        self._unreleased.pop(chat.key, None)
        return aborted

    async def _send_heartbeat(self) -> int:
        """Have the store record a heartbeat; return its number. Raises `StoreUnavailableError`."""
        limit_s = self.store.options.command_timeout_s
        first = self._heartbeats_sent == 0
        self._heartbeats_sent += 1
        number, self._heartbeat_sent_s = self._heartbeats_sent, time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                held = await self._counted_store().heartbeat(self.worker, number)
        except TimeoutError:
            raise StoreUnavailableError(f"the store did not take a heartbeat within {limit_s:g} s") from None
        if not held and not first:
            self._emptied_s = time.monotonic()
            self.counters.emptied += 1
            LOG.warning("the store was emptied: recording %d live chats again", self.live)
            self._fail(StoreUnavailableError("the store was emptied"))
        return number

    async def _check_path(self) -> None:
        """Send a heartbeat and check that it is received. Raises `StoreUnavailableError`."""
        await self._send_heartbeat()
        self._heartbeat_received_s = time.monotonic()

    async def _maintain(self) -> None:
        """Send heartbeats and renew the live chats three times per TTL; after a failure both, until they succeed."""
        options = self.store.options
        retries = 0
        renewed_s = time.monotonic()
        while True:
            renew_s, heartbeat_s = renewed_s + options.ttl_s / 3, self._heartbeat_sent_s + options.heartbeat_s
            # Not wait_for: in Python 3.11 it swallows a cancellation that coincides with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(min(renew_s, heartbeat_s) - time.monotonic(), RECHECK_S))):
                    await self._failed.wait()
            failed, failures, now_s = self._failed.is_set(), self._failures, time.monotonic()
            try:
                if failed or now_s >= renew_s:
                    await self._renew()
                    renewed_s = now_s
                elif not self._receives_aborts:
                    await self._reread_flags()
                if failed or now_s >= heartbeat_s:
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
                elif failed:  # a failure during the renewal, which may not have covered it
                    await asyncio.sleep(backoff_s(retries))
