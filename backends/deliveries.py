"""How an abort flag reaches the worker that owns the stream: read per chunk, read per interval, or pushed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

from backends.base import HEARTBEAT, SEEK, Chat, ChatKey, Store
from backends.delivery import STREAM_DEADLINE_S, Delivery
from backends.errors import DeafListenerError, StoreUnavailableError
from backends.signals import AbortSignal
from backends.supervise import TaskFactory, backoff_s, first_of

LATE_S = 0.25
"""After this time without its heartbeat the worker reads its flags, and goes on waiting for the heartbeat."""
LOOP_TURN_S = 0.01


class PollDelivery(Delivery):
    """Reads the flag before each chunk is forwarded: no listener, one read per chunk, no stop during a silence."""

    name = "poll"

    def _create_signal(self, chat: Chat) -> AbortSignal:
        async def poll() -> bool:
            # An unavailable store must not hold up the answer: it streams on without reads until the session has
            # reached the store again and read all flags.
            if not self._failed.is_set():
                try:
                    async with asyncio.timeout(STREAM_DEADLINE_S):
                        await self._read_flags([chat])
                except StoreUnavailableError as error:
                    self._fail(error)
                except TimeoutError:
                    self._fail(StoreUnavailableError(f"the store did not answer a poll within {STREAM_DEADLINE_S:g} s"))
            return signal.aborted

        signal = AbortSignal(poll)
        return signal


class TimerDelivery(Delivery):
    """Reads the flags of all live chats of a worker in one batch per interval."""

    name = "timer"

    def _tasks(self) -> Iterable[TaskFactory]:
        yield from super()._tasks()
        yield self._read_periodically

    async def _read_periodically(self) -> None:
        while True:
            await asyncio.sleep(self.store.options.interval_ms / 1000)
            if self._failed.is_set() or not (chats := self._registered_chats()):
                continue  # after a failure the session reads the flags until it succeeds
            try:
                await self._read_flags(chats)
            except StoreUnavailableError as error:
                self._fail(error)


class PushDelivery(Delivery):
    """The store sends a message to the owning worker; the recorded flag makes a lost message recoverable.

    A heartbeat takes the whole path of an abort: over the command connection into the store, and through this worker's
    own channel to its listener. A listener that does not receive it is replaced.
    """

    name = "push"

    def __init__(self, store: Store, *, early_limit: int = 1000) -> None:
        super().__init__(store, early_limit=early_limit)
        self._listener: asyncio.Event | None = None  # the one in use; setting the event ends it
        self._attempted = asyncio.Event()  # set after the first attempt to listen
        self._received_number = 0  # of the latest heartbeat
        self._heartbeat_received = asyncio.Event()
        self._ids_to_check: set[str] = set()
        self._check_requested = asyncio.Event()

    @property
    def ready(self) -> bool:
        """False also while the listener is down."""
        return super().ready and self._receives_aborts

    @property
    def _receives_aborts(self) -> bool:
        return self._listener is not None and not self._listener.is_set()

    def _tasks(self) -> Iterable[TaskFactory]:
        yield from super()._tasks()
        yield self._listen
        yield self._check_sought_chats

    async def _wait_until_started(self) -> None:
        """Fail after the first attempt: a refused or deaf subscription is usually a configuration error."""
        await self._attempted.wait()
        if not self._receives_aborts and self.last_error is not None:
            raise self.last_error

    def _on_recorded(self, chat: Chat) -> None:
        self._signal_aborts((chat.key,))  # a chat of this worker need not wait for the message

    async def _check_path(self) -> None:
        listener = self._listener
        number = await self._send_heartbeat()
        if listener is None or await self._receive_heartbeat(number, listener, LATE_S):
            return
        # Late or lost; the same may be true of an abort sent since.
        await self._reread_flags()
        limit_s = self.store.options.command_timeout_s
        if not await self._receive_heartbeat(number, listener, limit_s) and not listener.is_set():
            self.last_error = self._deaf_error()
            self.counters.deaf += 1
            listener.set()

    async def _receive_heartbeat(self, number: int, listener: asyncio.Event, within_s: float) -> bool:
        """Whether this heartbeat, or a later one, is received in time and before the listener ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._received_number < number and not listener.is_set():
                    self._heartbeat_received.clear()
                    await self._heartbeat_received.wait()
        if self._received_number < number:
            # uvloop runs timers before sockets: after a stall the message may still be unread
            await asyncio.sleep(LOOP_TURN_S)
        if self._received_number < number:
            return False
        self._heartbeat_received_s = time.monotonic()
        return True

    async def _listen(self) -> None:
        retries = 0
        while True:
            listener = asyncio.Event()
            try:
                async with self.store.listen(self.worker, self._on_message) as wait_for_loss:
                    await first_of(wait_for_loss(), self._use_listener(listener, again=retries > 0))
            except StoreUnavailableError as error:
                self.last_error = error
                if self._listener is listener:  # it had received heartbeats
                    retries = 0
                self.counters.lost += retries == 0
                self._end_listener(listener)
                await asyncio.sleep(backoff_s(retries))
                retries += 1
            except Exception:
                self._end_listener(listener)
                raise

    async def _use_listener(self, listener: asyncio.Event, *, again: bool) -> None:
        """Use this listener until a heartbeat is not received through it. Raises `DeafListenerError` then."""
        # Subscribe first, then read: an abort is found by one or the other, and none falls in between.
        await self._renew()
        number = await self._send_heartbeat()
        if await self._receive_heartbeat(number, listener, self.store.options.command_timeout_s):
            self.counters.reconnected += again
            self._listener = listener
            self._attempted.set()
            await listener.wait()
        raise self._deaf_error()

    def _deaf_error(self) -> DeafListenerError:
        return DeafListenerError(f"the listener's connection receives no messages; {self.store.deaf_hint}")

    def _end_listener(self, listener: asyncio.Event) -> None:
        self._listener = None
        listener.set()
        self._heartbeat_received.set()
        self._attempted.set()

    async def _check_sought_chats(self) -> None:
        """Check the records of this worker's chats for which an abort found no record."""
        while True:
            await self._check_requested.wait()
            self._check_requested.clear()
            ids, self._ids_to_check = self._ids_to_check, set()
            chats = [chat for chat in self._registered_chats() if chat.request_id in ids]
            try:
                if chats:
                    await self._read_flags(chats)
            except StoreUnavailableError as error:
                self._fail(error)

    def _on_message(self, key: ChatKey | None) -> None:
        if key is None:
            self.counters.dropped += 1
        elif key.generation == HEARTBEAT:
            if key.request_id.isdecimal():
                self._received_number = max(self._received_number, int(key.request_id))
                self._heartbeat_received.set()
        elif key.generation == SEEK:
            if key.request_id in self._live:
                self._ids_to_check.add(key.request_id)
                self._check_requested.set()
        else:
            self._signal_aborts((key,))
