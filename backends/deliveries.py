"""How an abort flag reaches the worker that owns the stream: read per chunk, read per interval, or pushed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

from backends.base import BEAT, SEEK, Chat, ChatKey, DeafListenerError, Store, StoreUnavailableError
from backends.delivery import STREAM_DEADLINE_S, Delivery
from backends.lasting import Work, backoff_s, first_of
from backends.signals import AbortSignal

LATE_S = 0.25
"""A heartbeat that takes longer is not given up, but the flags are read meanwhile."""
TURN_S = 0.01


class PollDelivery(Delivery):
    """The flag is read before every chunk is forwarded: no connection to keep, a read per chunk, blind in a silence."""

    name = "poll"

    def _signal(self, chat: Chat) -> AbortSignal:
        async def poll() -> bool:
            # The answer is worth more than the flag: with a store that does not answer it streams on, unread, until
            # the keeper has found the store again and read all flags.
            if not self._failed.is_set():
                try:
                    async with asyncio.timeout(STREAM_DEADLINE_S):
                        await self._read([chat])
                except StoreUnavailableError as error:
                    self._fail(error)
                except TimeoutError:
                    self._fail(StoreUnavailableError(f"the store did not answer a poll within {STREAM_DEADLINE_S:g} s"))
            return signal.aborted

        signal = AbortSignal(poll)
        return signal


class TimerDelivery(Delivery):
    """One batched read per interval for all the live streams of a worker."""

    name = "timer"

    def _tasks(self) -> Iterable[Work]:
        yield from super()._tasks()
        yield self._tick

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.store.options.interval_ms / 1000)
            if self._failed.is_set() or not (chats := self._registered()):
                continue  # after a failure the keeper reads the flags until it succeeds
            try:
                await self._read(chats)
            except StoreUnavailableError as error:
                self._fail(error)


class PushDelivery(Delivery):
    """The store tells the owning worker at once; the flag behind the message makes a lost one findable.

    A heartbeat takes the whole path of an abort: over the connection for commands into the store, and from there
    through this worker's own channel to its listener. A listener that does not receive it counts as lost.
    """

    name = "push"

    def __init__(self, store: Store, *, remember_most: int = 1000) -> None:
        super().__init__(store, remember_most=remember_most)
        self._listener: asyncio.Event | None = None  # the one in use; setting the event ends it
        self._tried = asyncio.Event()  # set after the first attempt to listen
        self._received = 0  # the number of the latest heartbeat
        self._receiving = asyncio.Event()
        self._sought: set[str] = set()
        self._seeking = asyncio.Event()

    @property
    def ready(self) -> bool:
        """False while the listener is down, too."""
        return super().ready and self._receives

    @property
    def _receives(self) -> bool:
        return self._listener is not None and not self._listener.is_set()

    def _tasks(self) -> Iterable[Work]:
        yield from super()._tasks()
        yield self._listen
        yield self._seek

    async def _started(self) -> None:
        """The first attempt decides: a subscription that is refused, or deaf, is mostly a matter of configuration."""
        await self._tried.wait()
        if not self._receives and self.last_error is not None:
            raise self.last_error

    def _recorded_here(self, chat: Chat) -> None:
        self._set((chat.key,))  # if it is ours: no message is as fast

    async def _check_path(self) -> None:
        listener = self._listener
        number = await self._beat()
        if listener is None or await self._arrives(number, listener, LATE_S):
            return
        # Late, or lost: an abort that was sent since may be, too.
        await self._reread()
        if not await self._arrives(number, listener, self.store.options.command_timeout_s) and not listener.is_set():
            self.last_error = self._deaf()
            self.counters.deaf += 1
            listener.set()

    async def _arrives(self, number: int, listener: asyncio.Event, within_s: float) -> bool:
        """Whether this heartbeat, or a later one, is received in time, and before the listener ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._received < number and not listener.is_set():
                    self._receiving.clear()
                    await self._receiving.wait()
        if self._received < number:
            await asyncio.sleep(TURN_S)  # uvloop runs timers before sockets: after a stall the message may be waiting
        if self._received < number:
            return False
        self._proven_s = time.monotonic()
        return True

    async def _listen(self) -> None:
        retries = 0
        while True:
            listener = asyncio.Event()
            try:
                async with self.store.listen(self.worker, self._heard) as until_lost:
                    await first_of(until_lost(), self._use_listener(listener, again=retries > 0))
            except StoreUnavailableError as error:
                self.last_error = error
                if self._listener is listener:  # it received heartbeats for a while
                    retries = 0
                self.counters.lost += retries == 0
                self._listener_down(listener)
                await asyncio.sleep(backoff_s(retries))
                retries += 1
            except Exception:
                self._listener_down(listener)
                raise

    async def _use_listener(self, listener: asyncio.Event, *, again: bool) -> None:
        """Use this listener until a heartbeat does not come through it. Raises `DeafListenerError` then."""
        # First subscribed, then read: an abort falls into one or the other, never between them.
        await self._renew()
        if await self._arrives(await self._beat(), listener, self.store.options.command_timeout_s):
            self.counters.reconnected += again
            self._listener = listener
            self._tried.set()
            await listener.wait()
        raise self._deaf()

    def _deaf(self) -> DeafListenerError:
        return DeafListenerError(f"the listener's connection receives no messages; {self.store.deaf_hint}")

    def _listener_down(self, listener: asyncio.Event) -> None:
        self._listener = None
        listener.set()
        self._receiving.set()
        self._tried.set()

    async def _seek(self) -> None:
        """Check the records of this worker's chats for which an abort came that found none."""
        while True:
            await self._seeking.wait()
            self._seeking.clear()
            sought, self._sought = self._sought, set()
            chats = [chat for chat in self._registered() if chat.request_id in sought]
            try:
                if chats:
                    await self._read(chats)
            except StoreUnavailableError as error:
                self._fail(error)

    def _heard(self, key: ChatKey | None) -> None:
        if key is None:
            self.counters.dropped += 1
        elif key.generation == BEAT:
            if key.request_id.isdecimal():
                self._received = max(self._received, int(key.request_id))
                self._receiving.set()
        elif key.generation == SEEK:
            if key.request_id in self._live:
                self._sought.add(key.request_id)
                self._seeking.set()
        else:
            self._set((key,))
