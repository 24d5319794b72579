"""The contract between a chat service and whatever carries an abort to the worker that owns the stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

Watch = Callable[[], Awaitable[None]]
"""Watches a listener's connection: never returns, and raises `StoreUnavailableError` when it is lost."""


class BackendError(Exception):
    """What can go wrong with an abort backend.

    BackendError
    ├── DuplicateChatError     a live chat already has this request id
    ├── StoreUnavailableError  the store did not answer, or the connection to it was lost; worth a retry
    │   ├── StoreRefusedError  the store answered, but does not do its part: no rights, read-only, out of memory
    │   └── DeafListenerError  the listener's connection lives, but no message comes through it
    └── BackendUrlError        a backend URL that names no strategy, or cannot be read
    """


class DuplicateChatError(BackendError):
    """A live chat already has this request id."""


class StoreUnavailableError(BackendError):
    """The store did not answer, or the connection to it was lost. Raised in place of the driver's own errors."""


class StoreRefusedError(StoreUnavailableError):
    """The store answered with an error: no rights, read-only, out of memory. Its message has the server's own words."""


class DeafListenerError(StoreUnavailableError):
    """The listener's connection lives and its subscription was confirmed, but a worker's own heartbeat did not come."""


class BackendUrlError(BackendError, ValueError):
    """A backend URL that names no strategy, or cannot be read. Its message holds no part of a secret."""


class AbortOutcome(StrEnum):
    """What became of an abort, as the store saw it."""

    ACCEPTED = "accepted"  # recorded now, and (push) the owner was told
    ALREADY_ABORTED = "already_aborted"  # recorded before
    STOPPED = "stopped"  # recorded, and the owner has confirmed that the upstream is closed
    UNKNOWN = "unknown"  # no such chat, a finished one, or somebody else's
    REMEMBERED = "remembered"  # no such chat yet; it will be stopped if it starts soon


class State(StrEnum):
    """What a store may hold under a request id. Every record expires by itself."""

    LIVE = "live"
    ABORTED = "aborted"
    ENDED = "ended"  # a tombstone: tells an abort that comes late from one that comes early
    EARLY = "early"  # an abort that came before its chat
    REPEATED = "repeated"  # an abort recorded again for a chat that the store had lost: it holds for that life only


BEAT = "beat"
"""In place of a generation: the message is a worker's own heartbeat, and its number stands in place of the id."""
SEEK = "seek"
"""In place of a generation: an abort found no record under this id. The worker that runs the chat checks its record."""


class ChatKey(NamedTuple):
    """One life of a request id. An id may be used again; the generation tells the lives apart."""

    request_id: str
    generation: str

    @classmethod
    def of(cls, message: str) -> Self | None:
        """The chat that a store's message names, as "<generation> <request id>"; None when it is no message of ours."""
        generation, space, request_id = message.partition(" ")
        return cls(request_id, generation) if space else None


class Chat(NamedTuple):
    """A live chat: who may stop it (`owner`) and which process holds its stream (`worker`)."""

    request_id: str
    generation: str
    owner: str
    worker: str

    @property
    def key(self) -> ChatKey:
        """The chat without its owner and worker."""
        return ChatKey(self.request_id, self.generation)


Heard = Callable[[ChatKey | None], object]
"""Takes what a listener hears, see `Store.listen`."""


class Flagged(NamedTuple):
    """What `Store.flag` did; `chat` is the one that is marked now, None if there is none."""

    outcome: AbortOutcome
    chat: Chat | None = None


@dataclass(frozen=True)
class Options:
    """What a deployment may tune; the defaults suit a chat of minutes and a store in the same data centre."""

    namespace: str = "stopwatch"  # Redis key prefix, PostgreSQL schema: deployments that share a server differ in it
    ttl_s: float = 60.0  # a live record that nobody renews is gone after this
    remember_s: float = 10.0  # how long early aborts and tombstones are kept
    interval_ms: float = 100.0  # between two reads of the timer delivery
    command_timeout_s: float = 2.0  # for one round trip, and for a connection to make it on
    heartbeat_s: float = 3.0  # between two heartbeats of a worker, one store operation each
    keepalive_s: float = 5.0  # a listener's connection that went silent is found within this
    start_unregistered: bool = False  # whether chats start while the store is away; they are recorded when it is back

    @property
    def silence_s(self) -> float:
        """A listener's connection that was silent for this long is pinged, and has the rest of `keepalive_s` to answer.

        By default longer than the interval of the heartbeats, so that no ping is sent while they come.
        """
        return 0.65 * self.keepalive_s

    @property
    def heartbeat_ttl_s(self) -> float:
        """How long the store keeps a worker's heartbeat: two that fail do not look like an emptied store."""
        return 3 * self.heartbeat_s + 2 * self.command_timeout_s


class Store(ABC):
    """Where the abort flag lives. Knows nothing of how the flag is looked for.

    Every method raises `StoreUnavailableError` when the store cannot be reached; what it then did is unknown.
    """

    name: ClassVar[str]
    deaf_hint: ClassVar[str] = ""
    """The most likely cause when a listener receives no heartbeat, and what to do."""

    def __init__(self, options: Options, *, notify: bool) -> None:
        self.options = options
        self.notify = notify  # whether `flag` also tells the owning worker

    @abstractmethod
    async def __aenter__(self) -> Self:
        """The store is reachable and takes writes, its schema is there, and the user has every right that is needed."""

    @abstractmethod
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Every connection is closed. Records stay until they expire."""

    @abstractmethod
    async def register(self, chat: Chat) -> bool:
        """The chat can be aborted from now on; True if an abort was already waiting for it.

        Raises `DuplicateChatError` if a live chat has this id. Atomic.
        """

    @abstractmethod
    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:
        """The abort is recorded and, with `notify`, sent to the worker that owns the chat. Atomic.

        With `remember`, an abort for an id that the store does not know is kept for `remember_s` from now. Somebody
        else's id is answered as an unknown one is.
        """

    @abstractmethod
    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        """What the store holds of each chat: one read for all. None: nothing, or a newer chat under the same id."""

    @abstractmethod
    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        """Every chat is recorded for another TTL, also if the store had lost it; returns those that must end.

        These are the aborted ones, and those that cannot be aborted any more because the store had lost them and a
        newer live chat has their id. What stands under the id then is left alone, as is a chat that has ended. No two
        of the chats have the same id.
        """

    @abstractmethod
    async def repeat(self, chats: Collection[Chat]) -> set[ChatKey]:
        """The abort of every chat is recorded, and its owner told, once more: the store may have lost it.

        Returns the chats of which that is true. One that has ended, or whose id is in use again, is left alone. No two
        of the chats have the same id.
        """

    @abstractmethod
    async def release(self, chat: Chat) -> None:
        """The id is free again, unless a newer chat has taken it (compared by generation)."""

    @abstractmethod
    async def beat(self, worker: str, number: int) -> bool:
        """The worker's heartbeat is recorded for `heartbeat_ttl_s` and, with `notify`, sent to its listener. Atomic.

        As `ChatKey(str(number), BEAT)`, the way an abort is sent. False if the store did not hold the one before: it is
        the worker's first, or the store was emptied.
        """

    @abstractmethod
    async def seek(self, worker: str, request_id: str) -> bool:
        """With `notify`, `ChatKey(request_id, SEEK)` was sent to every worker's listener.

        False if the store does not hold this worker's heartbeat any more: it was emptied.
        """

    @abstractmethod
    def listen(self, worker: str, heard: Heard) -> AbstractAsyncContextManager[Watch]:
        """Entered: the store confirmed the subscription. From then on `heard` gets each aborted chat of this worker.

        Also its heartbeats (see `beat`), the chats that any worker seeks (see `seek`), and None for a message that is
        none of ours. It is called in the moment the message comes, so it must not wait for anything. The connection is
        one of its own; its loss is told, never waited through: the caller must listen again and then re-read its flags,
        because what was sent meanwhile is gone. For that it awaits what it is given.
        """
