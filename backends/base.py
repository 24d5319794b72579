"""The contract between a chat service and a store that carries aborts to the worker that owns the stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import ClassVar, NamedTuple, Self


class AbortOutcome(StrEnum):
    """The result of an abort request, as the store saw it."""

    ACCEPTED = "accepted"  # recorded by this request and, with push, sent to the owning worker
    ALREADY_ABORTED = "already_aborted"  # recorded earlier
    STOPPED = "stopped"  # recorded, and the owner has confirmed that the upstream is closed
    UNKNOWN = "unknown"  # no such chat, a finished chat, or a chat of another owner
    REMEMBERED = "remembered"  # no such chat yet; a chat that starts with this id soon will be stopped


class State(StrEnum):
    """The states of a record in a store. Every record expires."""

    LIVE = "live"
    ABORTED = "aborted"
    ENDED = "ended"  # a tombstone: distinguishes a late abort from an early one
    EARLY = "early"  # an abort that came before its chat
    REPEATED = "repeated"  # an abort reasserted after the store lost the chat; valid for that generation only


HEARTBEAT = "beat"
"""In place of a generation: the message is a worker's heartbeat; its number is in place of the request id."""
SEEK = "seek"
"""In place of a generation: an abort found no record for this id. The worker that runs the chat checks its record."""


class ChatKey(NamedTuple):
    """One use of a request id. An id may be reused; the generation distinguishes the uses."""

    request_id: str
    generation: str

    @classmethod
    def of(cls, message: str) -> Self | None:
        """Parse a store's message, "<generation> <request id>"; None for a message in another format."""
        generation, space, request_id = message.partition(" ")
        return cls(request_id, generation) if space else None


class Chat(NamedTuple):
    """A live chat: who may abort it (`owner`) and which process holds its stream (`worker`)."""

    request_id: str
    generation: str
    owner: str
    worker: str

    @property
    def key(self) -> ChatKey:
        """The chat without its owner and worker."""
        return ChatKey(self.request_id, self.generation)


MessageHandler = Callable[[ChatKey | None], object]
"""Called with each message that a listener receives, see `Store.listen`."""
WaitForLoss = Callable[[], Awaitable[None]]
"""Waits until a listener's connection is lost, then raises `StoreUnavailableError`. Never returns."""


class FlagResult(NamedTuple):
    """The result of `Store.flag`; `chat` is the aborted chat, None if there is none."""

    outcome: AbortOutcome
    chat: Chat | None = None


@dataclass(frozen=True)
class Options:
    """Settings of a deployment; the defaults suit chats of minutes and a store in the same data centre."""

    namespace: str = "stopwatch"  # Redis key prefix, PostgreSQL schema; must differ between deployments on one server
    ttl_s: float = 60.0  # lifetime of a live record that is not renewed
    remember_s: float = 10.0  # lifetime of early aborts and tombstones
    interval_ms: float = 100.0  # between two reads of the timer delivery
    command_timeout_s: float = 2.0  # limit for one round trip, and for connecting
    heartbeat_s: float = 3.0  # between two heartbeats of a worker, one store operation each
    keepalive_s: float = 5.0  # a silent listener connection is detected within this time
    start_unregistered: bool = False  # start chats while the store is unavailable; record them when it is back

    @property
    def silence_s(self) -> float:
        """Silence on a listener's connection before a ping is sent; the rest of `keepalive_s` is for the reply.

        Longer than the heartbeat interval by default, so that a healthy listener is never pinged.
        """
        return 0.65 * self.keepalive_s

    @property
    def heartbeat_ttl_s(self) -> float:
        """Lifetime of a worker's heartbeat record. Two failed heartbeats do not look like an emptied store."""
        return 3 * self.heartbeat_s + 2 * self.command_timeout_s


class Store(ABC):
    """Holds the abort flags. Independent of how a delivery reads them.

    Every method raises `StoreUnavailableError` when the store cannot be reached; whether it took effect is then
    unknown.
    """

    name: ClassVar[str]
    deaf_hint: ClassVar[str] = ""
    """Advice for a listener that receives no heartbeat: the most likely cause."""

    def __init__(self, options: Options, *, notify: bool) -> None:
        self.options = options
        self.notify = notify  # whether `flag` also sends a message to the owning worker

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Connect, create the schema, and check that the store takes writes and the user has all required rights."""

    @abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection. Records stay until they expire."""

    @abstractmethod
    async def register(self, chat: Chat) -> bool:
        """Record the chat, so that it can be aborted; True if an early abort was waiting for it.

        Raises `DuplicateChatError` if a live chat has this id. Atomic.
        """

    @abstractmethod
    async def flag(self, request_id: str, owner: str, *, remember: bool) -> FlagResult:
        """Record an abort and, with `notify`, send it to the owning worker. Atomic.

        With `remember`, an abort of an unknown id is kept for `remember_s`. An id of another owner is treated as
        unknown.
        """

    @abstractmethod
    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        """The recorded state of each chat, in one read. None: no record, or a newer chat has the id."""

    @abstractmethod
    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        """Record every chat for another TTL, also those the store had lost; return the chats that must end.

        These are the aborted ones, and those whose record was lost and whose id now belongs to a newer live chat. The
        newer record, and the record of an ended chat, are left unchanged. The chats have distinct ids.
        """

    @abstractmethod
    async def reassert(self, chats: Collection[Chat]) -> set[ChatKey]:
        """Record and send the abort of every chat again, in case the store lost it; return the chats affected.

        Chats that have ended, and chats whose id is in use again, are left unchanged. The chats have distinct ids.
        """

    @abstractmethod
    async def release(self, chat: Chat) -> bool:
        """Free the id, unless a newer chat has taken it (compared by generation); True if an abort was recorded."""

    @abstractmethod
    async def heartbeat(self, worker: str, number: int) -> bool:
        """Record the worker's heartbeat for `heartbeat_ttl_s`; with `notify`, send it to the worker's listener. Atomic.

        The message is `ChatKey(str(number), HEARTBEAT)` and takes the path of an abort. False if the store did not hold
        the previous heartbeat: it is the worker's first, or the store was emptied.
        """

    @abstractmethod
    async def seek(self, worker: str, request_id: str) -> bool:
        """With `notify`, send `ChatKey(request_id, SEEK)` to the listeners of all workers.

        False if the store does not hold this worker's heartbeat: it was emptied.
        """

    @abstractmethod
    def listen(self, worker: str, on_message: MessageHandler) -> AbstractAsyncContextManager[WaitForLoss]:
        """Subscribe over a connection of its own; on entry the store has confirmed the subscription.

        `on_message` is called with each aborted chat of this worker, its heartbeats, the chats that any worker seeks,
        and None for a message in another format. It is called from the event loop's read callback and must not block.
        After a loss (see `WaitForLoss`) the caller must listen again and then re-read its flags, because messages sent
        in between are gone.
        """
