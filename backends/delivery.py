"""One worker's side of every abort strategy: watch chats, record aborts, and lose none of them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from backends.base import AbortOutcome, Chat, ChatKey, DuplicateChatError, State, Store, StoreUnavailableError
from backends.early import EarlyAborts
from backends.lasting import Work, backoff_s, end, for_ever
from backends.signals import AbortSignal, Counters

STREAM_DEADLINE_S = 0.25  # the longest that a stream may wait for the store while it runs, and when it ends
CONFIRM_EVERY_S = 1.0
CONFIRM_FIRST_S = 0.001
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
        self._live: dict[str, _Watched] = {}  # by request id: no two live chats here have the same
        self._unreleased: dict[ChatKey, tuple[Chat, float]] = {}  # ended here, but the store could not be told
        self._accepted: dict[str, tuple[Chat, float]] = {}  # aborts accepted here, until they took effect; by id
        self._early = EarlyAborts(remember_most, store.options.remember_s)
        self._failed = asyncio.Event()
        self._failures = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.store)
        try:
            tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
            running = [tasks.create_task(for_ever(work, self._fail)) for work in self._tasks()]
            self._stack.push_async_callback(end, running)
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
        be released then is released as soon as the store is back.
        """
        if request_id in self._live:
            raise DuplicateChatError(request_id)
        chat = Chat(request_id, secrets.token_hex(8), owner, self.worker)
        watched = _Watched(chat, self._signal(chat))
        # Known here before the store knows it: a message may arrive while `register` is still on its way back.
        self._live[request_id] = watched
        try:
            try:
                if await self._ask().register(chat):
                    watched.signal.set()
            except StoreUnavailableError:
                self._fail()
                if not self.store.options.start_unregistered:
                    raise
            watched.registered = True  # or will be: the keeper records it as soon as the store is back
            yield watched.signal
        finally:
            del self._live[request_id]
            self._unreleased[chat.key] = (chat, time.monotonic())
            try:
                async with asyncio.timeout(STREAM_DEADLINE_S):
                    await self._release(chat)
            except (StoreUnavailableError, TimeoutError):
                self._fail()  # or the id would be refused, and its aborts accepted, for a whole TTL

    async def abort(
        self, request_id: str, owner: str, *, wait_s: float = 0.0, on_record: Callable[[], object] | None = None
    ) -> AbortOutcome:
        """Record an abort for a chat of this owner, wherever it runs. Raises `StoreUnavailableError`.

        With `wait_s` it waits so long for the owner to confirm: STOPPED says that the upstream is closed. `on_record`
        is called once the store has answered, before that wait.
        """
        now = time.monotonic()
        may_remember = self._early.reserve(owner, request_id)
        outcome: AbortOutcome | None = None
        try:
            outcome, chat = await self._ask().flag(request_id, owner, remember=may_remember)
        finally:
            if may_remember and outcome is not AbortOutcome.REMEMBERED:
                self._early.give_back(owner, request_id)
        if on_record is not None:
            on_record()
        if outcome is AbortOutcome.UNKNOWN and not may_remember:
            self.counters.early_refused += 1
        if chat is not None:
            if self._accepted.get(request_id, (None,))[0] != chat:
                self._accepted[request_id] = (chat, now)
            self._recorded_here(chat)
            if wait_s and await self._ended(chat, wait_s):
                return AbortOutcome.STOPPED
        return outcome

    def _recorded_here(self, chat: Chat) -> None:
        """An abort of this chat was recorded by this worker."""

    def abort_all(self) -> None:
        """Stop every chat of this worker, as it does before it shuts down."""
        self._set([watched.chat.key for watched in self._live.values()])

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

    def _tasks(self) -> Iterable[Work]:
        """What runs beside the chats, for ever."""
        yield self._keep
        yield self._confirm

    async def _started(self) -> None:
        """Return once an abort can reach this worker."""

    def _fail(self) -> None:
        """The store did not answer, or has lost something: the keeper has to renew."""
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

    async def _read(self, chats: list[Chat]) -> None:
        """Read the flags of these chats and signal the aborted ones; a chat that the store has lost is a failure."""
        states = await self._ask().states(chats)
        self._set(chat.key for chat, state in zip(chats, states, strict=True) if state in _ABORTED)
        for chat, state in zip(chats, states, strict=True):
            watched = self._live.get(chat.request_id)
            if state is None and watched is not None and watched.chat == chat:
                raise StoreUnavailableError("the store has lost a live chat")

    async def _renew(self) -> None:
        """Every live chat is recorded and its flag read, also of those that are on their way into the store."""
        for chat, ended_s in tuple(self._unreleased.values()):
            if ended_s < time.monotonic() - self.store.options.ttl_s:
                self._unreleased.pop(chat.key, None)  # the store has forgotten it by itself
            else:
                await self._release(chat)
        chats = [watched.chat for watched in self._live.values()]
        self.counters.recovered_aborts += self._set(await self._ask().renew(chats))

    async def _release(self, chat: Chat) -> None:
        await self._ask().release(chat)
        self._unreleased.pop(chat.key, None)

    async def _keep(self) -> None:
        """Renew the live chats three times per TTL, and after a failure until it works again."""
        retries = 0
        while True:
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.store.options.ttl_s / 3):
                    await self._failed.wait()
            failures = self._failures
            try:
                await self._renew()
            except StoreUnavailableError:
                self._fail()
                self.counters.lost += retries == 0
                await asyncio.sleep(backoff_s(retries))
                retries += 1
            else:
                retries = 0
                if failures == self._failures:
                    self._failed.clear()
                else:  # something failed during the renewal, which may not know of it
                    await asyncio.sleep(backoff_s(retries))

    async def _confirm(self) -> None:
        """See accepted aborts take effect; one that the store has lost meanwhile is recorded again."""
        while True:
            await asyncio.sleep(CONFIRM_EVERY_S)
            # A living owner has renewed the chat by then, and has read its flag in doing so.
            old_s = time.monotonic() - 2 * self.store.options.ttl_s
            self._accepted = {name: each for name, each in self._accepted.items() if each[1] >= old_s}
            if not self._accepted:
                continue
            pending = [chat for chat, _ in self._accepted.values()]
            try:
                states = await self._ask().states(pending)
                lost = [chat for chat, state in zip(pending, states, strict=True) if state in (None, State.LIVE)]
                repeated = await self._ask().repeat(lost) if lost else set()
            except StoreUnavailableError:
                self._fail()
                continue
            self.counters.repeated_aborts += len(repeated)
            over = {chat for chat, state in zip(pending, states, strict=True) if state is State.ENDED}
            over |= {chat for chat in lost if chat.key not in repeated}  # ended, or the id has a new life
            for chat in over:
                if self._accepted.get(chat.request_id, (None,))[0] == chat:
                    del self._accepted[chat.request_id]
