"""Abort flags in this process's own memory: the fastest store, and blind to every other worker."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from backends.base import (
    BEAT,
    SEEK,
    AbortOutcome,
    Chat,
    ChatKey,
    DuplicateChatError,
    Flagged,
    Heard,
    Options,
    State,
    Store,
    Watch,
)


class _Record(NamedTuple):
    state: State
    chat: Chat
    expires_s: float


class MemoryStore(Store):
    """A dict. With several workers an abort only finds its chat when it lands on the worker that owns it."""

    name: ClassVar[str] = "memory"

    def __init__(self, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)
        self._records: dict[str, _Record] = {}
        self._short_lived: deque[tuple[float, str]] = deque()  # tombstones and early aborts, oldest first
        self._listeners: dict[str, Heard] = {}
        self._beating: set[str] = set()

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

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:
        found = self._find(request_id)
        unknown = Flagged(AbortOutcome.REMEMBERED if remember else AbortOutcome.UNKNOWN)
        if found is None:
            if remember:
                self._put(State.EARLY, Chat(request_id, "", owner, ""), self.options.remember_s)
            return unknown
        if found.chat.owner != owner:
            return unknown
        if found.state is State.ENDED:
            return Flagged(AbortOutcome.UNKNOWN)
        if found.state is State.EARLY:
            if remember:
                self._put(State.EARLY, found.chat, self.options.remember_s)
            return Flagged(AbortOutcome.REMEMBERED)
        if found.state in (State.ABORTED, State.REPEATED):
            return Flagged(AbortOutcome.ALREADY_ABORTED, found.chat)
        self._put(State.ABORTED, found.chat, self.options.ttl_s)
        self._tell(found.chat)
        return Flagged(AbortOutcome.ACCEPTED, found.chat)

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
            if found is not None and found.state in _KEPT_FROM[own]:
                if not own:
                    must_end.add(chat.key)
                continue
            aborted = found is not None and _aborts(found, chat)
            self._put(State.ABORTED if aborted else State.LIVE, chat, self.options.ttl_s)
            if aborted:
                must_end.add(chat.key)
        return must_end

    async def repeat(self, chats: Collection[Chat]) -> set[ChatKey]:
        repeated = set()
        for chat in chats:
            found = self._find(chat.request_id)
            if found is None:
                self._put(State.REPEATED, chat, self.options.remember_s)
            elif found.chat.key != chat.key or found.state is State.ENDED:
                continue
            elif found.state is State.LIVE:
                self._put(State.ABORTED, chat, self.options.ttl_s)
            repeated.add(chat.key)
            self._tell(chat)
        return repeated

    async def release(self, chat: Chat) -> None:
        found = self._find(chat.request_id)
        if found is not None and found.chat.key == chat.key:
            self._put(State.ENDED, chat, self.options.remember_s)

    async def beat(self, worker: str, number: int) -> bool:
        held = worker in self._beating
        self._beating.add(worker)
        if (heard := self._listeners.get(worker)) is not None:
            heard(ChatKey(str(number), BEAT))
        return held

    async def seek(self, worker: str, request_id: str) -> bool:
        for heard in self._listeners.values():
            heard(ChatKey(request_id, SEEK))
        return worker in self._beating

    @asynccontextmanager
    async def listen(self, worker: str, heard: Heard) -> AsyncIterator[Watch]:
        async def never() -> None:
            await asyncio.Event().wait()

        self._listeners[worker] = heard
        try:
            yield never
        finally:
            del self._listeners[worker]

    def _tell(self, chat: Chat) -> None:
        if self.notify and (heard := self._listeners.get(chat.worker)) is not None:
            heard(chat.key)

    def _put(self, state: State, chat: Chat, lives_s: float) -> None:
        expires_s = time.monotonic() + lives_s
        self._records[chat.request_id] = _Record(state, chat, expires_s)
        if state in (State.ENDED, State.EARLY, State.REPEATED):
            self._short_lived.append((expires_s, chat.request_id))

    def _find(self, request_id: str) -> _Record | None:
        """The record, if it has not expired; drops the tombstones and early aborts that have."""
        now = time.monotonic()
        while self._short_lived and self._short_lived[0][0] <= now:
            _, old = self._short_lived.popleft()
            if (record := self._records.get(old)) is not None and record.expires_s <= now:
                del self._records[old]
        found = self._records.get(request_id)
        return found if found is not None and found.expires_s > now else None


# What `renew` leaves alone: of a chat's own records, and of those of another life of its id.
_KEPT_FROM = {True: (State.ENDED,), False: (State.LIVE, State.ABORTED)}


def _aborts(found: _Record, chat: Chat) -> bool:
    """Whether this record says that the chat is aborted."""
    if found.chat.key == chat.key:
        return found.state in (State.ABORTED, State.REPEATED)
    return found.state is State.EARLY and found.chat.owner == chat.owner


class NoStore(MemoryStore):
    """The control: every abort is accepted and none is delivered. For measuring only."""

    name: ClassVar[str] = "none"

    async def register(self, chat: Chat) -> bool:  # noqa: ARG002 - the contract's signature
        return False

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:  # noqa: ARG002 - same
        return Flagged(AbortOutcome.ACCEPTED)
