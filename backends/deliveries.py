"""How an abort flag reaches the worker that owns the stream: read per chunk, read per interval, or pushed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from backends.base import Chat, ChatKey, Store, StoreUnavailableError
from backends.delivery import STREAM_DEADLINE_S, Delivery
from backends.lasting import Work, backoff_s
from backends.signals import AbortSignal


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
                except (StoreUnavailableError, TimeoutError):
                    self._fail()
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
            except StoreUnavailableError:
                self._fail()


class PushDelivery(Delivery):
    """The store tells the owning worker at once; the flag behind the message makes a lost one findable."""

    name = "push"

    def __init__(self, store: Store, *, remember_most: int = 1000) -> None:
        super().__init__(store, remember_most=remember_most)
        self._listening = asyncio.Event()

    @property
    def ready(self) -> bool:
        """False while the listener is down, too."""
        return super().ready and self._listening.is_set()

    def _tasks(self) -> Iterable[Work]:
        yield from super()._tasks()
        yield self._listen

    async def _started(self) -> None:
        await self._listening.wait()

    def _recorded_here(self, chat: Chat) -> None:
        self._set((chat.key,))  # if it is ours: no message is as fast

    async def _listen(self) -> None:
        retries = 0
        while True:
            try:
                async with self.store.listen(self.worker, self._heard) as until_lost:
                    # First subscribed, then read: an abort falls into one or the other, never between them.
                    await self._renew()
                    self.counters.reconnected += bool(retries)
                    retries = 0
                    self._listening.set()
                    await until_lost()
            except StoreUnavailableError:
                self._listening.clear()
                self.counters.lost += retries == 0
                await asyncio.sleep(backoff_s(retries))
                retries += 1
            except Exception:
                self._listening.clear()
                raise

    def _heard(self, key: ChatKey | None) -> None:
        if key is None:
            self.counters.dropped += 1
        else:
            self._set((key,))
