"""One worker's side of every abort strategy: watch chats, record aborts, and lose none of them."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Self

from backends.base import AbortOutcome, Chat, FlagResult, State, Store
from backends.early import EarlyAborts
from backends.errors import DuplicateChatError, StoreUnavailableError
from backends.signals import AbortSignal
from backends.store_session import LiveChat, StoreSession
from backends.supervise import TaskFactory, cancel_and_wait, run_forever

STREAM_DEADLINE_S = 0.25  # the longest that a stream waits for the store, while it runs and when it ends
CONFIRM_INTERVAL_S = 1.0
CONFIRM_FIRST_S = 0.001
REPAIR_S = 0.5
"""How long an abort of an unknown chat waits for the other workers after the store was emptied."""


class Delivery(StoreSession):
    """One worker's side of an abort strategy, over any store. An async context manager that owns its tasks.

    Common to all deliveries, so that no accepted abort is lost:

    - The session's heartbeats and renewals.
    - The worker that accepted an abort checks whether it took effect, and reasserts it if the store lost it.
    - An abort of an unknown chat triggers a check whether the store has lost that chat.
    """

    name = "none"

    def __init__(self, store: Store, *, early_limit: int = 1000) -> None:
        super().__init__(store)
        self._early = EarlyAborts(early_limit, store.options.remember_s)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.store)
        try:
            group = await self._stack.enter_async_context(asyncio.TaskGroup())
            running = [group.create_task(run_forever(task, self._fail)) for task in self._tasks()]
            self._stack.push_async_callback(cancel_and_wait, running)
            await self._wait_until_started()
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
        """Watch a chat for aborts. Entering is a barrier: an abort sent afterwards, by any process, is not lost.

        Raises `DuplicateChatError` or `StoreUnavailableError` on entry and nothing on exit: an id that cannot be
        released then is released as soon as the store is back.
        """
        if request_id in self._live:
            raise DuplicateChatError(request_id)
        chat = Chat(request_id, secrets.token_hex(8), owner, self.worker)
        live = LiveChat(chat, self._create_signal(chat))
        # Before the store has the record: a message may arrive before the reply to `register`.
        self._live[request_id] = live
        try:
            try:
                if await self._counted_store().register(chat):
                    live.signal.set()
            except StoreUnavailableError as error:
                self._fail(error)
                if not self.store.options.start_unregistered:
                    raise
            live.registered = True  # or will be: the session records it as soon as the store is back
            yield live.signal
        finally:
            del self._live[request_id]
            live.signal.close()
            self._unreleased[chat.key] = (chat, time.monotonic())
            try:
                async with asyncio.timeout(STREAM_DEADLINE_S):
                    live.signal.recorded = await self._release(chat)
            except (StoreUnavailableError, TimeoutError):
                self._fail()  # else the id would be refused, and its aborts accepted, for a whole TTL

    async def abort(
        self, request_id: str, owner: str, *, wait_s: float = 0.0, on_record: Callable[[], object] | None = None
    ) -> AbortOutcome:
        """Record an abort of this owner's chat on any worker. Raises `StoreUnavailableError`.

        With `wait_s`, wait that long for the owner to confirm; STOPPED means that the upstream is closed. `on_record`
        is called after the store has answered, before that wait.
        """
        now_s = time.monotonic()
        live = self._live.get(request_id)
        here = live if live is not None and live.registered and live.chat.owner == owner else None
        may_remember = self._early.reserve(owner, request_id)
        outcome: AbortOutcome | None = None
        try:
            outcome, chat = await self._counted_store().flag(request_id, owner, remember=may_remember)
            if chat is None and outcome is not AbortOutcome.ACCEPTED:
                ended = outcome is AbortOutcome.UNKNOWN and may_remember
                if here is not None or not ended:
                    outcome, chat = await self._find_lost(request_id, owner, FlagResult(outcome), here)
        except StoreUnavailableError as error:
            self._fail(error)
            raise
        finally:
            if may_remember and outcome is not AbortOutcome.REMEMBERED:
                self._early.cancel(owner, request_id)
        if on_record is not None:
            on_record()
        if outcome is AbortOutcome.STOPPED and not wait_s:
            outcome = AbortOutcome.ACCEPTED
        if outcome is AbortOutcome.UNKNOWN and not may_remember:
            self.counters.early_refused += 1
        if chat is not None:
            if self._accepted.get(request_id, (None,))[0] != chat:
                self._accepted[request_id] = (chat, now_s)
            self._on_recorded(chat)
            if wait_s and await self._wait_until_ended(chat, wait_s):
                return AbortOutcome.STOPPED
        return outcome

    async def _find_lost(self, request_id: str, owner: str, result: FlagResult, here: LiveChat | None) -> FlagResult:
        """Check whether the store has lost the chat of an abort; return `result` if it has not.

        A chat that is live `here` is recorded again at once. The other workers are asked to check theirs, and get
        REPAIR_S for it if the store was emptied recently.
        """
        remembered = result.outcome is AbortOutcome.REMEMBERED
        if here is not None and self._live.get(request_id) is here:
            self._fail(StoreUnavailableError("the store has lost the record of a live chat"))
            await self._record(here.chat)  # turns a remembered early abort into an abort of the chat
            if not here.signal.aborted:
                await self._counted_store().flag(request_id, owner, remember=False)
                here.signal.set()
            return FlagResult(AbortOutcome.ACCEPTED, here.chat)
        if not await self._counted_store().seek(self.worker, request_id):
            self._fail(StoreUnavailableError("the store was emptied"))
        elif time.monotonic() > self._emptied_s + 2 * self.store.options.heartbeat_s:
            return result
        deadline_s, pause_s = time.monotonic() + REPAIR_S, 0.005
        while time.monotonic() < deadline_s:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)
            outcome, chat = await self._counted_store().flag(request_id, owner, remember=remembered)
            if chat is not None:
                return FlagResult(AbortOutcome.ACCEPTED, chat)
            if remembered and outcome is AbortOutcome.UNKNOWN:
                return FlagResult(AbortOutcome.STOPPED)  # recorded again, stopped by this abort, and ended
        return result

    def _on_recorded(self, chat: Chat) -> None:
        """Called when this worker has recorded an abort of the chat."""

    def abort_all(self) -> None:
        """Stop every chat of this worker, before a shutdown."""
        self._signal_aborts([live.chat.key for live in self._live.values()])

    async def _wait_until_ended(self, chat: Chat, wait_s: float) -> bool:
        """Whether the owner released the chat within this time."""
        pause_s = CONFIRM_FIRST_S
        with suppress(TimeoutError, StoreUnavailableError):  # the abort itself is already recorded
            async with asyncio.timeout(wait_s):
                while await self._counted_store().states((chat,)) != [State.ENDED]:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, 0.1)
                return True
        return False

    def _create_signal(self, chat: Chat) -> AbortSignal:  # noqa: ARG002 - poll needs the chat
        return AbortSignal()

    def _tasks(self) -> Iterable[TaskFactory]:
        """The tasks that run for the lifetime of the worker."""
        yield self._maintain
        yield self._confirm

    async def _wait_until_started(self) -> None:
        """Return once an abort can reach this worker. Raises `StoreUnavailableError` if none can."""
        await self._check_path()

    async def _confirm(self) -> None:
        """Check that accepted aborts take effect; reassert those that the store has lost."""
        failed_s = -math.inf
        while True:
            await asyncio.sleep(CONFIRM_INTERVAL_S)
            # Within two TTLs of a working store, a running owner has renewed the chat and read its flag.
            oldest_s = time.monotonic() - 2 * self.store.options.ttl_s
            if failed_s < oldest_s:
                self._accepted = {name: each for name, each in self._accepted.items() if each[1] >= oldest_s}
            if not self._accepted:
                continue
            pending = [chat for chat, _ in self._accepted.values()]
            try:
                states = await self._counted_store().states(pending)
                lost = [chat for chat, state in zip(pending, states, strict=True) if state in (None, State.LIVE)]
                reasserted = await self._counted_store().reassert(lost) if lost else set()
            except StoreUnavailableError as error:
                self._fail(error)
                failed_s = time.monotonic()
                continue
            self.counters.repeated_aborts += len(reasserted)
            done = {chat for chat, state in zip(pending, states, strict=True) if state is State.ENDED}
            done |= {chat for chat in lost if chat.key not in reasserted}  # ended, or the id is in use again
            for chat in done:
                if self._accepted.get(chat.request_id, (None,))[0] == chat:
                    del self._accepted[chat.request_id]
