"""One worker's side of every abort strategy: watch chats, record aborts, and lose none of them."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from backends.base import AbortOutcome, Chat, ChatKey, State, Store, StoreUnavailableError
from backends.signals import AbortSignal, Counters

BACKOFF_FIRST_S = 0.05
BACKOFF_MOST_S = 0.3  # an abort accepted elsewhere meanwhile is late by as much: a chat may be over by then
STREAM_DEADLINE_S = 0.25  # the longest that a stream may wait for the store while it runs, and when it ends
CONFIRM_EVERY_S = 1.0
CONFIRM_FIRST_S = 0.001
CANCEL_EVERY_S = 0.2
_ABORTED = (State.ABORTED, State.REPEATED)


@dataclass
class _Watched:
    chat: Chat
    signal: AbortSignal
    registered: bool = False


class Delivery:
    """One worker's side of an abort strategy, over any store. An async context manager that owns its tasks.

    What is common to all deliveries, so that no accepted abort is lost:

    - Live chats are renewed before their records expire, and each renewal also reads their flags. After any failure the
      same renewal runs until it succeeds, which restores what the store lost and finds the aborts accepted meanwhile.
    - The worker that accepted an abort looks whether it took effect, and records it again if the store lost it.
    """

    name = "none"

    def __init__(self, store: Store, *, remember_most: int = 1000) -> None:
        self.store = store
        self.worker = secrets.token_hex(8)
        self.counters = Counters()
        self._live: dict[ChatKey, _Watched] = {}
        self._accepted: dict[ChatKey, tuple[Chat, float]] = {}  # aborts accepted here, until they took effect
        self._early: deque[float] = deque(maxlen=remember_most)
        self._failed = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.store)
        try:
            tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
            running = [tasks.create_task(work) for work in self._tasks()]
            self._stack.push_async_callback(_end, running)
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
        watched = _Watched(chat, self._signal(chat))
        # Known here before the store knows it: a message may arrive while `register` is still on its way back.
        self._live[chat.key] = watched
        try:
            try:
                if await self._ask().register(chat):
                    watched.signal.set()
            except StoreUnavailableError:
                self._failed.set()
                if not self.store.options.start_unregistered:
                    raise
            watched.registered = True  # or will be: the keeper records it as soon as the store is back
            yield watched.signal
        finally:
            del self._live[chat.key]
            with suppress(StoreUnavailableError, TimeoutError):
                async with asyncio.timeout(STREAM_DEADLINE_S):
                    await self._ask().release(chat)

    async def abort(
        self, request_id: str, owner: str, *, wait_s: float = 0.0, on_record: Callable[[], object] | None = None
    ) -> AbortOutcome:
        """Record an abort for a chat of this owner, wherever it runs. Raises `StoreUnavailableError`.

        With `wait_s` it waits so long for the owner to confirm: STOPPED says that the upstream is closed. `on_record`
        is called once the store has answered, before that wait.
        """
        now = time.monotonic()
        while self._early and self._early[0] < now - self.store.options.remember_s:
            self._early.popleft()
        may_remember = len(self._early) < (self._early.maxlen or 0)
        outcome, chat = await self._ask().flag(request_id, owner, remember=may_remember)
        if on_record is not None:
            on_record()
        if outcome is AbortOutcome.REMEMBERED:
            self._early.append(now)
        elif outcome is AbortOutcome.UNKNOWN and not may_remember:
            self.counters.early_refused += 1
        if chat is not None:
            self._accepted.setdefault(chat.key, (chat, now))
            self._recorded_here(chat)
            if wait_s and await self._ended(chat, wait_s):
                return AbortOutcome.STOPPED
        return outcome

    def _recorded_here(self, chat: Chat) -> None:
        """An abort of this chat was recorded by this worker."""

    def abort_all(self) -> None:
        """Stop every chat of this worker, as it does before it shuts down."""
        self._set(tuple(self._live))

    async def _ended(self, chat: Chat, wait_s: float) -> bool:
        """Whether the owner released the chat within this time."""
        pause_s = CONFIRM_FIRST_S
        with suppress(TimeoutError, StoreUnavailableError):  # the abort itself was recorded, whatever happens now
            async with asyncio.timeout(wait_s):
                while await self._ask().states((chat,)) != [State.ENDED]:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, 0.1)
                return True
        return False

    def _ask(self) -> Store:
        """The store, for one more round trip."""
        self.counters.operations += 1
        return self.store

    def _signal(self, chat: Chat) -> AbortSignal:  # noqa: ARG002 - poll needs the chat
        return AbortSignal()

    def _tasks(self) -> Iterable[Coroutine[None, None, None]]:
        yield self._keep()
        yield self._confirm()

    async def _started(self) -> None:
        """Return once an abort can reach this worker."""

    def _set(self, keys: Iterable[ChatKey]) -> int:
        """Signal those of the chats that are still here; how many had not known."""
        return sum(watched.signal.set() for key in keys if (watched := self._live.get(key)) is not None)

    def _chats(self) -> list[Chat]:
        return [watched.chat for watched in self._live.values() if watched.registered]

    async def _read(self, chats: list[Chat]) -> None:
        """Read the flags of these chats and signal the aborted ones; a chat that the store has lost is a failure."""
        states = await self._ask().states(chats)
        self._set(chat.key for chat, state in zip(chats, states, strict=True) if state in _ABORTED)
        if any(state is None and chat.key in self._live for chat, state in zip(chats, states, strict=True)):
            raise StoreUnavailableError("the store has lost a live chat")

    async def _renew(self) -> None:
        self.counters.recovered_aborts += self._set(await self._ask().renew(self._chats()))

    async def _keep(self) -> None:
        """Renew the live chats three times per TTL, and after a failure until it works again."""
        failures = 0
        while True:
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.store.options.ttl_s / 3):
                    await self._failed.wait()
            try:
                await self._renew()
                self._failed.clear()
            except StoreUnavailableError:
                self._failed.set()
                self.counters.lost += 1
                await asyncio.sleep(backoff_s(failures))
                failures += 1
            else:
                failures = 0

    async def _confirm(self) -> None:
        """See accepted aborts take effect; one that the store has lost meanwhile is recorded again."""
        while True:
            await asyncio.sleep(CONFIRM_EVERY_S)
            if not self._accepted:
                continue
            now = time.monotonic()
            pending = list(self._accepted.values())
            try:
                states = await self._ask().states([chat for chat, _ in pending])
                lost = [chat for (chat, _), state in zip(pending, states, strict=True) if state in (None, State.LIVE)]
                if lost:
                    await self._ask().repeat(lost)
                    self.counters.repeated_aborts += len(lost)
            except StoreUnavailableError:
                self._failed.set()
                continue
            for (chat, accepted_s), state in zip(pending, states, strict=True):
                # A living owner has renewed the chat by then, and has read its flag in doing so.
                if state is State.ENDED or accepted_s < now - 2 * self.store.options.ttl_s:
                    del self._accepted[chat.key]


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a driver that loses one cancellation must not keep a worker from leaving."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_EVERY_S)


def backoff_s(failures: int) -> float:
    """Seconds to wait: uniform in (0, min(cap, base * 2^failures)), "full jitter" in AWS's article on back-off."""
    most_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
    return random.uniform(0, most_s)  # noqa: S311 - spread, not secrecy
