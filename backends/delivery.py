"""How an abort flag reaches the worker that owns the stream: read per chunk, read per interval, or pushed."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from backends.base import AbortOutcome, Chat, ChatKey, Store, StoreUnavailableError

BACKOFF_FIRST_S = 0.05
BACKOFF_MOST_S = 2.0


@dataclass
class Counters:
    """What happened to one worker's delivery since it started (counts)."""

    lost: int = 0  # connections to the store that broke, or reads that failed
    reconnected: int = 0
    recovered_aborts: int = 0  # aborts found by re-reading that no message had told of
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


class Delivery:
    """One worker's side of an abort strategy, over any store. An async context manager that owns its tasks.

    What is common to all deliveries: live chats are renewed before their records expire, and each renewal also reads
    their flags. After any failure the same renewal runs until it succeeds, which restores what the store lost and
    finds every abort that was accepted meanwhile.
    """

    name = "none"

    def __init__(self, store: Store, *, remember_most: int = 1000) -> None:
        self.store = store
        self.worker = secrets.token_hex(8)
        self.counters = Counters()
        self._live: dict[ChatKey, tuple[Chat, AbortSignal]] = {}
        self._early: deque[float] = deque(maxlen=remember_most)
        self._failed = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.store)
        try:
            tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
            running = [tasks.create_task(work) for work in self._tasks()]
            self._stack.callback(lambda: [task.cancel() for task in running])
            await self._started()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def ready(self) -> bool:
        """False while an abort might be recorded that would not reach this worker."""
        return not self._failed.is_set()

    @property
    def live(self) -> int:
        """How many chats this worker is watching."""
        return len(self._live)

    @asynccontextmanager
    async def watch(self, request_id: str, owner: str) -> AsyncIterator[AbortSignal]:
        """Entering is a barrier: an abort that any process sends afterwards is seen.

        Raises `DuplicateChatError` or `StoreUnavailableError` on entering, and nothing on leaving: an id that cannot
        be released expires by itself.
        """
        chat = Chat(request_id, secrets.token_hex(8), owner, self.worker)
        signal = self._signal(chat)
        # Known here before the store knows it: a message may arrive while `register` is still on its way back.
        self._live[chat.key] = (chat, signal)
        try:
            if await self.store.register(chat):
                signal.set()
            yield signal
        except StoreUnavailableError:
            self._failed.set()
            raise
        finally:
            del self._live[chat.key]
            with suppress(StoreUnavailableError):
                await self.store.release(chat)

    async def abort(self, request_id: str, owner: str) -> AbortOutcome:
        """Record an abort for a chat of this owner, wherever it runs. Raises `StoreUnavailableError`."""
        now = time.monotonic()
        while self._early and self._early[0] < now - self.store.remember_s:
            self._early.popleft()
        may_remember = len(self._early) < (self._early.maxlen or 0)
        outcome = await self.store.flag(request_id, owner, remember=may_remember)
        if outcome is AbortOutcome.REMEMBERED:
            self._early.append(now)
        elif outcome is AbortOutcome.UNKNOWN and not may_remember:
            self.counters.early_refused += 1
        return outcome

    def _signal(self, chat: Chat) -> AbortSignal:  # noqa: ARG002 - poll needs the chat
        return AbortSignal()

    def _tasks(self) -> Iterable[Coroutine[None, None, None]]:
        yield self._keep()

    async def _started(self) -> None:
        """Return once an abort can reach this worker."""

    def _set(self, keys: Iterable[ChatKey]) -> int:
        """Signal those of the chats that are still here; how many had not known."""
        return sum(entry[1].set() for key in keys if (entry := self._live.get(key)) is not None)

    def _chats(self) -> list[Chat]:
        return [chat for chat, _ in self._live.values()]

    async def _renew(self) -> None:
        self.counters.recovered_aborts += self._set(await self.store.renew(self._chats()))

    async def _keep(self) -> None:
        """Renew the live chats three times per TTL, and after a failure until it works again."""
        failures = 0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._failed.wait(), self.store.ttl_s / 3)
            try:
                self._failed.clear()
                await self._renew()
            except StoreUnavailableError:
                self._failed.set()
                self.counters.lost += 1
                await asyncio.sleep(_backoff_s(failures))
                failures += 1
            else:
                failures = 0


class PollDelivery(Delivery):
    """The flag is read before every chunk is forwarded: no connection to keep, a read per chunk, blind in a silence."""

    name = "poll"

    def _signal(self, chat: Chat) -> AbortSignal:
        async def poll() -> bool:
            try:
                if await self.store.flagged((chat,)):
                    signal.set()
            except StoreUnavailableError:
                # The answer is worth more than the flag: it streams on, and the keeper looks for the store.
                self._failed.set()
            return signal.aborted

        signal = AbortSignal(poll)
        return signal


class TimerDelivery(Delivery):
    """One batched read per interval for all the live streams of a worker."""

    name = "timer"

    def __init__(self, store: Store, *, interval_ms: float = 100.0, remember_most: int = 1000) -> None:
        super().__init__(store, remember_most=remember_most)
        self.interval_ms = interval_ms

    def _tasks(self) -> Iterable[Coroutine[None, None, None]]:
        yield from super()._tasks()
        yield self._read()

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(self.interval_ms / 1000)
            if not (chats := self._chats()):
                continue
            try:
                self._set(await self.store.flagged(chats))
            except StoreUnavailableError:
                self._failed.set()


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

    def _tasks(self) -> Iterable[Coroutine[None, None, None]]:
        yield from super()._tasks()
        yield self._listen()

    async def _started(self) -> None:
        await self._listening.wait()

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with self.store.listen(self.worker) as aborted:
                    # First subscribed, then read: an abort falls into one or the other, never between them.
                    await self._renew()
                    self.counters.reconnected += bool(failures)
                    failures = 0
                    self._listening.set()
                    async for key in aborted:
                        self._set((key,))
            except StoreUnavailableError:
                self._listening.clear()
                self.counters.lost += 1
                await asyncio.sleep(_backoff_s(failures))
                failures += 1


def _backoff_s(failures: int) -> float:
    """Uniform in (0, min(cap, base * 2^failures)): "full jitter" of AWS's article "Exponential Backoff and Jitter"."""
    most_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
    return random.uniform(0, most_s)  # noqa: S311 - spread, not secrecy
