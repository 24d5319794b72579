"""Abort flags in this process's memory: the fastest store, not shared with other workers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from backends.base import (
    HEARTBEAT,
    SEEK,
    AbortOutcome,
    Chat,
    ChatKey,
    FlagResult,
    MessageHandler,
    Options,
    State,
    Store,
    WaitForLoss,
)
from backends.errors import DuplicateChatError


class _Record(NamedTuple):
    state: State
    chat: Chat
    expires_s: float


class MemoryStore(Store):
    """A dict. With several workers, an abort reaches its chat only if it is sent to the worker that owns it."""

    name: ClassVar[str] = "memory"

    def __init__(self, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)
        self._records: dict[str, _Record] = {}
        self._short_lived: deque[tuple[float, str]] = deque()  # tombstones and early aborts, in order of expiry
        self._listeners: dict[str, MessageHandler] = {}
        self._heartbeats: set[str] = set()  # workers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._records.clear()

    async def register(self, chat: Chat) -> bool:
        found = self._find(chat.request_id)
        if found and found.state in (State.LIVE, State.ABORTED) and found.chat.key != chat.key:
            raise DuplicateChatError(chat.request_id)
        aborted = found is not None and _aborts(found, chat)
        self._put(State.ABORTED if aborted else State.LIVE, chat, self.options.ttl_s)
        return aborted

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> FlagResult:
        found = self._find(request_id)
        unknown = FlagResult(AbortOutcome.REMEMBERED if remember else AbortOutcome.UNKNOWN)
        if found is None:
            if remember:
                self._put(State.EARLY, Chat(request_id, "", owner, ""), self.options.remember_s)
            return unknown
        if found.chat.owner != owner:
            return unknown
        if found.state is State.ENDED:
            return FlagResult(AbortOutcome.UNKNOWN)
        if found.state is State.EARLY:
            if remember:
                self._put(State.EARLY, found.chat, self.options.remember_s)
            return FlagResult(AbortOutcome.REMEMBERED)
        if found.state in (State.ABORTED, State.REPEATED):
            return FlagResult(AbortOutcome.ALREADY_ABORTED, found.chat)
        self._put(State.ABORTED, found.chat, self.options.ttl_s)
        self._notify(found.chat)
        return FlagResult(AbortOutcome.ACCEPTED, found.chat)

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        found = [self._find(chat.request_id) for chat in chats]
        return [
            record.state if record is not None and record.chat.key == chat.key else None
            for chat, record in zip(chats, found, strict=True)
        ]

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        must_end = set()
        for chat in chats:
            found = self._find(chat.request_id)
            own = found is not None and found.chat.key == chat.key
            if found is not None and found.state in _NOT_RENEWED[own]:
                if not own:
                    must_end.add(chat.key)
                continue
            aborted = found is not None and _aborts(found, chat)
            self._put(State.ABORTED if aborted else State.LIVE, chat, self.options.ttl_s)
            if aborted:
                must_end.add(chat.key)
        return must_end

    async def reassert(self, chats: Collection[Chat]) -> set[ChatKey]:
        reasserted = set()
        for chat in chats:
            found = self._find(chat.request_id)
            if found is None:
                self._put(State.REPEATED, chat, self.options.remember_s)
            elif found.chat.key != chat.key or found.state is State.ENDED:
                continue
            elif found.state is State.LIVE:
                self._put(State.ABORTED, chat, self.options.ttl_s)
            reasserted.add(chat.key)
            self._notify(chat)
        return reasserted

    async def release(self, chat: Chat) -> bool:
        found = self._find(chat.request_id)
        if found is None or found.chat.key != chat.key:
            return False
        self._put(State.ENDED, chat, self.options.remember_s)
        return found.state in (State.ABORTED, State.REPEATED)

    async def heartbeat(self, worker: str, number: int) -> bool:
        held = worker in self._heartbeats
        self._heartbeats.add(worker)
        if (on_message := self._listeners.get(worker)) is not None:
            on_message(ChatKey(str(number), HEARTBEAT))
        return held

    async def seek(self, worker: str, request_id: str) -> bool:
        for on_message in self._listeners.values():
            on_message(ChatKey(request_id, SEEK))
        return worker in self._heartbeats

    @asynccontextmanager
    async def listen(self, worker: str, on_message: MessageHandler) -> AsyncIterator[WaitForLoss]:
        async def never_lost() -> None:
            await asyncio.Event().wait()

        self._listeners[worker] = on_message
        try:
            yield never_lost
        finally:
            del self._listeners[worker]

    def _notify(self, chat: Chat) -> None:
        if self.notify and (on_message := self._listeners.get(chat.worker)) is not None:
            on_message(chat.key)

    def _put(self, state: State, chat: Chat, lifetime_s: float) -> None:
        expires_s = time.monotonic() + lifetime_s
        self._records[chat.request_id] = _Record(state, chat, expires_s)
        if state in (State.ENDED, State.EARLY, State.REPEATED):
            self._short_lived.append((expires_s, chat.request_id))

    def _find(self, request_id: str) -> _Record | None:
        """The record, unless it has expired; removes expired tombstones and early aborts."""
        now_s = time.monotonic()
        while self._short_lived and self._short_lived[0][0] <= now_s:
            _, expired = self._short_lived.popleft()
            if (record := self._records.get(expired)) is not None and record.expires_s <= now_s:
                del self._records[expired]
        found = self._records.get(request_id)
        return found if found is not None and found.expires_s > now_s else None


# States that `renew` leaves unchanged: of the chat's own record (True), and of another chat with its id (False).
_NOT_RENEWED = {True: (State.ENDED,), False: (State.LIVE, State.ABORTED)}


def _aborts(found: _Record, chat: Chat) -> bool:
    """Whether this record aborts the chat."""
    if found.chat.key == chat.key:
        return found.state in (State.ABORTED, State.REPEATED)
    return found.state is State.EARLY and found.chat.owner == chat.owner


class NoStore(MemoryStore):
    """The control for measurements: accepts every abort and delivers none."""

    name: ClassVar[str] = "none"

    async def register(self, chat: Chat) -> bool:  # noqa: ARG002 - the contract's signature
        return False

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> FlagResult:  # noqa: ARG002 - same
        return FlagResult(AbortOutcome.ACCEPTED)
