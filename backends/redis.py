"""Abort flags in Redis (or Valkey): one key per chat, one script per change, one pub/sub channel per worker."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Self
from zlib import crc32

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from backends import redis_scripts as scripts
from backends.base import (
    BEAT,
    SEEK,
    AbortOutcome,
    BackendUrlError,
    Chat,
    ChatKey,
    DuplicateChatError,
    Flagged,
    Heard,
    Options,
    State,
    Store,
    StoreRefusedError,
    StoreUnavailableError,
    Watch,
)
from backends.redis_commands import Commands
from backends.redis_errors import acl_line, unavailable
from backends.redis_url import driver_url
from backends.redis_wire import Command, Wire
from backends.refusals import RefusalLog, exercise

# The key of a chat and the channel on which its owner hears of it share a hash tag, one of BUCKETS, and so a slot:
# scripts that publish are safe in a cluster, and sharded pub/sub sends a message to one shard, not to every node.
BUCKETS = 16
ALL = "all"  # in place of a worker in a channel's name


class RedisStore(Store):
    """One round trip per operation; all commands share one connection, the listener has another.

    The server is a single node, or what looks like one: the keys would be safe in a cluster, this client follows none.
    """

    name: ClassVar[str] = "redis"
    deaf_hint: ClassVar[str] = "check for a proxy without pub/sub, and the channel rights of this Redis user"

    def __init__(self, url: str, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)
        self._where, address = driver_url(url)
        try:
            self._pool = ConnectionPool.from_url(  # knows how to connect; nothing is ever borrowed from it
                address,
                protocol=2,
                socket_timeout=options.command_timeout_s,
                socket_connect_timeout=options.command_timeout_s,
                retry=Retry(NoBackoff(), 0),
                driver_info=None,  # or each connection would need the right to CLIENT SETINFO
            )
            self._new("check")  # redis-py looks at the values only now
        except (RedisError, TypeError, ValueError) as error:
            raise BackendUrlError(f"an option of the backend URL has no valid value: {error}") from None
        self._commands = Commands(lambda: self._new("commands"), options.command_timeout_s, self._drop_listeners)
        self._listeners: set[Wire] = set()
        self._refusals = RefusalLog()
        self._by_slot = False  # until the server says that it must be asked so
        self._prefix = f"{options.namespace}:"
        self._publish = "SPUBLISH" if notify else ""  # empty: nobody is told

    async def __aenter__(self) -> Self:
        try:
            if self._publish:
                with self._translated():
                    ((sharded,),) = await self._commands.ask(("COMMAND", "INFO", "SPUBLISH"))
                if not sharded:  # older than Redis 7
                    self._publish = "PUBLISH"
                async with self.listen("probe", lambda _: None):
                    pass
            await exercise(self)
        except BaseException:
            await self._commands.close()
            raise
        self._refusals.started = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._commands.close()

    async def register(self, chat: Chat) -> bool:
        state = await self._run(scripts.RECORD, chat.request_id, *chat[1:], _ms(self.options.ttl_s), 0)
        if state == b"duplicate":
            raise DuplicateChatError(chat.request_id)
        return bool(state == b"aborted")

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:
        remember_ms = _ms(self.options.remember_s) if remember else 0
        reply = await self._run(scripts.FLAG, request_id, owner, remember_ms, *self._telling(request_id))
        if isinstance(reply, bytes):
            return Flagged(AbortOutcome(reply.decode()))
        outcome, generation, worker = (part.decode() for part in reply)
        return Flagged(AbortOutcome(outcome), Chat(request_id, generation, owner, worker))

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        with self._translated():
            values = await self._get([self._key(chat.request_id) for chat in chats])
        states: list[State | None] = []
        for chat, value in zip(chats, values, strict=True):
            state, generation = value.decode().split(" ", 2)[:2] if value is not None else ("", "")
            states.append(State(state) if generation == chat.generation else None)
        return states

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        states = await self._for_each(scripts.RECORD, chats, _ms(self.options.ttl_s), 1)
        return {chat.key for chat, state in zip(chats, states, strict=True) if state in (b"aborted", b"duplicate")}

    async def repeat(self, chats: Collection[Chat]) -> set[ChatKey]:
        repeated = await self._for_each(scripts.REPEAT, chats, _ms(self.options.remember_s))
        return {chat.key for chat, yes in zip(chats, repeated, strict=True) if yes}

    async def _run(self, script: str, request_id: str, *arguments: str | int) -> Any:
        """Run a script for one chat: one round trip, two when the server has to be told the script first."""
        with self._translated():
            (reply,) = await self._commands.run(script, (self._key(request_id), *arguments))
            return reply

    async def _for_each(self, script: str, chats: Collection[Chat], *arguments: int) -> list[Any]:
        """Run a script for every chat: one round trip, two when the server has to be told the script first."""
        if not chats:
            return []
        runs: list[Command] = [
            (self._key(chat.request_id), *chat[1:], *arguments, *self._telling(chat.request_id)) for chat in chats
        ]
        with self._translated():
            return await self._commands.run(script, *runs)

    def _new(self, name: str) -> AbstractConnection:
        """A connection that is not open yet; the server shows its name in CLIENT LIST."""
        settings = self._pool.connection_kwargs | {"client_name": f"{self.options.namespace}-{name}"}
        connection: AbstractConnection = self._pool.connection_class(**settings)
        return connection

    async def release(self, chat: Chat) -> None:
        await self._run(scripts.RELEASE, chat.request_id, chat.generation, _ms(self.options.remember_s))

    async def beat(self, worker: str, number: int) -> bool:
        ttl_ms, channel = _ms(self.options.heartbeat_ttl_s), self._channel(_bucket(worker)) + worker
        with self._translated():
            (held,) = await self._commands.run(
                scripts.BEAT, (self._beat_key(worker), ttl_ms, self._publish, channel, f"{BEAT} {number}")
            )
        return bool(held)

    async def seek(self, worker: str, request_id: str) -> bool:
        asked: list[Command] = [("GET", self._beat_key(worker))]
        if self._publish:
            asked.append((self._publish, self._channel(0) + ALL, f"{SEEK} {request_id}"))
        with self._translated():
            held, *_ = await self._commands.ask(*asked)
        return held is not None

    @asynccontextmanager
    async def listen(self, worker: str, heard: Heard) -> AsyncIterator[Watch]:
        def took(message: list[Any]) -> None:
            if message[0] == b"sunsubscribe":  # a cluster has moved the slot: no message comes here any more
                wire.close()
            else:
                heard(ChatKey.of(message[2].decode(errors="replace")))

        with self._translated():
            # Not redis-py's PubSub: that one reconnects by itself and hides that messages were lost.
            answer_s = self.options.keepalive_s - self.options.silence_s
            wire = await Wire.open(self._new("listener"), answer_s, took)
        self._listeners.add(wire)
        try:
            subscribe = "SSUBSCRIBE" if self._publish == "SPUBLISH" else "SUBSCRIBE"
            with self._translated():
                # A replica accepts subscriptions too, so first a write: it shows that aborts are published here.
                await wire.ask(("SET", f"{self._prefix}{{0}}", worker, "PX", 1000))
                # One command for each channel: in a cluster they are in different slots.
                own = ((subscribe, self._channel(bucket) + worker) for bucket in range(BUCKETS))
                said = await wire.ask(*own, (subscribe, self._channel(0) + ALL))
            if any(confirmation[0] != subscribe.lower().encode() for confirmation in said):
                raise StoreUnavailableError("Redis did not confirm the subscription")
            yield lambda: self._until_lost(wire)
        finally:
            self._listeners.discard(wire)
            wire.close()

    def _drop_listeners(self) -> None:
        """End every listener: a server that refuses commands may not be the one where aborts are published."""
        for wire in tuple(self._listeners):
            wire.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            ours = unavailable(error, self._where, acl_line(self.options.namespace, self._publish))
            if isinstance(ours, StoreRefusedError):
                self._refusals.warn(str(ours))
            raise ours from error

    async def _until_lost(self, wire: Wire) -> None:
        """A silent connection is asked: either nobody aborts, or it is half-open."""
        with self._translated():
            while not wire.closed:
                left_s = wire.heard_s + self.options.silence_s - monotonic()
                if left_s <= 0:
                    await wire.ask(("PING",))
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await wire.lost()
        raise StoreUnavailableError(f"Redis at {self._where}: the listener's connection was lost")

    async def _get(self, keys: list[str]) -> list[Any]:
        """The values of all keys in one round trip: one MGET, or one for each slot where the server is a cluster's."""
        if not keys:
            return []  # MGET of nothing is an error
        if not self._by_slot:
            try:
                (values,) = await self._commands.ask(("MGET", *keys))
                return list(values)
            except ResponseError as error:
                if not str(error).startswith("CROSSSLOT"):
                    raise
                self._by_slot = True
        slots: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            slots.setdefault(key[: key.index("}")], []).append(index)
        answers = await self._commands.ask(
            *(("MGET", *(keys[index] for index in indices)) for indices in slots.values())
        )
        values = [None] * len(keys)
        for indices, answer in zip(slots.values(), answers, strict=True):
            for index, value in zip(indices, answer, strict=True):
                values[index] = value
        return values

    def _telling(self, request_id: str) -> tuple[str, str, str]:
        """What a script needs to tell the owner: the id, the command, the channel without the worker."""
        return request_id, self._publish, self._channel(_bucket(request_id))

    def _key(self, request_id: str) -> str:
        return f"{self._prefix}{{{_bucket(request_id)}}}:{request_id}"

    def _beat_key(self, worker: str) -> str:
        """Not the key of any chat: those go on with a colon."""
        return f"{self._prefix}{{{_bucket(worker)}}}beat:{worker}"

    def _channel(self, bucket: int) -> str:
        return f"{self._prefix}{{{bucket}}}:abort:"


def _bucket(request_id: str) -> int:
    return crc32(request_id.encode()) % BUCKETS


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
