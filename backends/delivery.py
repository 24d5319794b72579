"""One worker's side of every abort strategy: watch chats, record aborts, and lose none of them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Self

from backends.base import AbortOutcome, Chat, DuplicateChatError, Flagged, State, Store, StoreUnavailableError
from backends.early import EarlyAborts
from backends.keeper import Keeper, Watched
from backends.lasting import Work, end, for_ever
from backends.signals import AbortSignal

STREAM_DEADLINE_S = 0.25  # the longest that a stream may wait for the store while it runs, and when it ends
CONFIRM_EVERY_S = 1.0
CONFIRM_FIRST_S = 0.001
REPAIR_S = 0.5
"""How long an abort for an unknown chat waits for the other workers when the store was emptied a moment ago."""


class Delivery(Keeper):
    """One worker's side of an abort strategy, over any store. An async context manager that owns its tasks.

    What is common to all deliveries, so that no accepted abort is lost:

    - The keeper's heartbeats and renewals.
    - The worker that accepted an abort looks whether it took effect, and records it again if the store lost it.
    - An abort for a chat that the store does not know is an occasion to find out whether the store has lost it.
    """

    name = "none"

    def __init__(self, store: Store, *, remember_most: int = 1000) -> None:
        super().__init__(store)
        self._early = EarlyAborts(remember_most, store.options.remember_s)
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

    @asynccontextmanager
    async def watch(self, request_id: str, owner: str) -> AsyncIterator[AbortSignal]:
        """Entering is a barrier: an abort that any process sends afterwards is seen.

        Raises `DuplicateChatError` or `StoreUnavailableError` on entering, and nothing on leaving: an id that cannot
        be released then is released as soon as the store is back.
        """
        if request_id in self._live:
            raise DuplicateChatError(request_id)
        chat = Chat(request_id, secrets.token_hex(8), owner, self.worker)
        watched = Watched(chat, self._signal(chat))
        # Known here before the store knows it: a message may arrive while `register` is still on its way back.
        self._live[request_id] = watched
        try:
            try:
                if await self._ask().register(chat):
                    watched.signal.set()
            except StoreUnavailableError as error:
                self._fail(error)
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
        watched = self._live.get(request_id)
        here = watched if watched is not None and watched.registered and watched.chat.owner == owner else None
        may_remember = self._early.reserve(owner, request_id)
        outcome: AbortOutcome | None = None
        try:
            outcome, chat = await self._ask().flag(request_id, owner, remember=may_remember)
            if chat is None and outcome is not AbortOutcome.ACCEPTED:
                ended = outcome is AbortOutcome.UNKNOWN and may_remember
                if here is not None or not ended:
                    outcome, chat = await self._find_lost(request_id, owner, Flagged(outcome), here)
        except StoreUnavailableError as error:
            self._fail(error)
            raise
        finally:
            if may_remember and outcome is not AbortOutcome.REMEMBERED:
                self._early.give_back(owner, request_id)
        if on_record is not None:
            on_record()
        if outcome is AbortOutcome.STOPPED and not wait_s:
            outcome = AbortOutcome.ACCEPTED
        if outcome is AbortOutcome.UNKNOWN and not may_remember:
            self.counters.early_refused += 1
        if chat is not None:
            if self._accepted.get(request_id, (None,))[0] != chat:
                self._accepted[request_id] = (chat, now)
            self._recorded_here(chat)
            if wait_s and await self._ended(chat, wait_s):
                return AbortOutcome.STOPPED
        return outcome

    async def _find_lost(self, request_id: str, owner: str, answer: Flagged, here: Watched | None) -> Flagged:
        """The answer to an abort for a chat that the store does not know, after a look whether the store has lost it.

        A chat that is live `here` is recorded again at once. The other workers are asked to do the same with theirs,
        and get REPAIR_S for it if the store was emptied a moment ago. `answer` stands if nothing is found.
        """
        remembered = answer.outcome is AbortOutcome.REMEMBERED
        if here is not None and self._live.get(request_id) is here:
            self._fail(StoreUnavailableError("the store has lost a live chat"))
            await self._record(here.chat)  # what was remembered of this abort becomes the chat's own
            if not here.signal.aborted:
                await self._ask().flag(request_id, owner, remember=False)
                here.signal.set()
            return Flagged(AbortOutcome.ACCEPTED, here.chat)
        if not await self._ask().seek(self.worker, request_id):
            self._fail(StoreUnavailableError("the store was emptied"))
        elif time.monotonic() > self._emptied_s + 2 * self.store.options.heartbeat_s:
            return answer
        until_s, pause_s = time.monotonic() + REPAIR_S, 0.005
        while time.monotonic() < until_s:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)
            outcome, chat = await self._ask().flag(request_id, owner, remember=remembered)
            if chat is not None:
                return Flagged(AbortOutcome.ACCEPTED, chat)
            if remembered and outcome is AbortOutcome.UNKNOWN:
                return Flagged(AbortOutcome.STOPPED)  # it was found, has met this abort, and has ended
        return answer

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

    def _signal(self, chat: Chat) -> AbortSignal:  # noqa: ARG002 - poll needs the chat
        return AbortSignal()

    def _tasks(self) -> Iterable[Work]:
        """What runs beside the chats, for ever."""
        yield self._keep
        yield self._confirm

    async def _started(self) -> None:
        """Return once an abort can reach this worker. Raises `StoreUnavailableError` if none can."""
        await self._check_path()

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
            except StoreUnavailableError as error:
                self._fail(error)
                continue
            self.counters.repeated_aborts += len(repeated)
            over = {chat for chat, state in zip(pending, states, strict=True) if state is State.ENDED}
            over |= {chat for chat in lost if chat.key not in repeated}  # ended, or the id has a new life
            for chat in over:
                if self._accepted.get(chat.request_id, (None,))[0] == chat:
                    del self._accepted[chat.request_id]
