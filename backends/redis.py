"""Abort flags in Redis (or Valkey): one key per chat, one script per change, one pub/sub channel per worker."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, Self
from zlib import crc32

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

from backends import redis_scripts as scripts
from backends.base import (
    AbortOutcome,
    BackendUrlError,
    Chat,
    ChatKey,
    DuplicateChatError,
    Flagged,
    Options,
    State,
    Store,
    StoreUnavailableError,
)

# The key of a chat and the channel on which its owner hears of it share a hash tag, one of BUCKETS, and so a slot:
# scripts that publish are safe in a cluster, and sharded pub/sub sends a message to one shard, not to every node.
BUCKETS = 16


class RedisStore(Store):
    """One round trip per operation; commands go through a bounded pool, the listener has a connection of its own.

    The server is a single node, or what looks like one: the keys would be safe in a cluster, this client follows none.
    """

    name: ClassVar[str] = "redis"

    def __init__(
        self,
        url: str,
        options: Options,
        *,
        notify: bool,
        connections: int = 32,
    ) -> None:
        super().__init__(options, notify=notify)
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                timeout=options.command_timeout_s,
                protocol=2,
                socket_timeout=options.command_timeout_s,
                socket_connect_timeout=options.command_timeout_s,
                # One retry: a pooled connection that the server closed is no outage. Every command here is idempotent.
                retry=Retry(NoBackoff(), 1),
                client_name=f"{options.namespace}-commands",
            )
        except ValueError as error:
            raise BackendUrlError(f"not a Redis URL: {error}") from error
        self._redis: Redis = Redis.from_pool(self._pool)
        self._single: Redis = Redis(connection_pool=self._pool, single_connection_client=True)
        self._at_hand: Redis | None = self._single  # None while a command is under way on its connection
        self._prefix = f"{options.namespace}:"
        self._publish = "PUBLISH" if notify else ""  # empty: nobody is told
        self._record = self._redis.register_script(scripts.RECORD)
        self._flag = self._redis.register_script(scripts.FLAG)
        self._repeat = self._redis.register_script(scripts.REPEAT)
        self._release = self._redis.register_script(scripts.RELEASE)

    async def __aenter__(self) -> Self:
        with _translated():
            (sharded,) = await self._execute("COMMAND", "INFO", "SPUBLISH")
        if sharded and self._publish:  # Redis 7 and later, and Valkey
            self._publish = "SPUBLISH"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._single.aclose()
        await self._redis.aclose()
        await self._pool.aclose()

    async def register(self, chat: Chat) -> bool:
        state = await self._run(self._record, chat.request_id, *chat[1:], _ms(self.options.ttl_s), 0)
        if state == b"duplicate":
            raise DuplicateChatError(chat.request_id)
        return bool(state == b"aborted")

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:
        remember_ms = _ms(self.options.remember_s) if remember else 0
        reply = await self._run(self._flag, request_id, owner, remember_ms, *self._telling(request_id))
        if isinstance(reply, bytes):
            return Flagged(AbortOutcome(reply.decode()))
        outcome, generation, worker = (part.decode() for part in reply)
        return Flagged(AbortOutcome(outcome), Chat(request_id, generation, owner, worker))

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        with _translated():
            values = await self._get([self._key(chat.request_id) for chat in chats])
        states: list[State | None] = []
        for chat, value in zip(chats, values, strict=True):
            state, generation = value.decode().split(" ", 2)[:2] if value is not None else ("", "")
            states.append(State(state) if generation == chat.generation else None)
        return states

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        states = await self._for_each(self._record, chats, _ms(self.options.ttl_s), 1)
        return {chat.key for chat, state in zip(chats, states, strict=True) if state in (b"aborted", b"duplicate")}

    async def repeat(self, chats: Collection[Chat]) -> set[ChatKey]:
        repeated = await self._for_each(self._repeat, chats, _ms(self.options.remember_s))
        return {chat.key for chat, yes in zip(chats, repeated, strict=True) if yes}

    async def _run(self, script: AsyncScript, request_id: str, *arguments: str | int) -> Any:
        """Run a script for one chat: one round trip, two when the server has to be told the script first."""
        key = self._key(request_id)
        with _translated():
            try:
                return await self._execute("EVALSHA", script.sha, 1, key, *arguments)
            except NoScriptError:
                return await self._execute("EVAL", script.script, 1, key, *arguments)

    async def _execute(self, *command: Any) -> Any:
        """One command; mostly on the connection at hand, for a round through the pool costs a tenth of an abort."""
        client, self._at_hand = self._at_hand or self._redis, None
        try:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            if client is self._single:
                self._at_hand = client

    async def _for_each(self, script: AsyncScript, chats: Collection[Chat], *arguments: int) -> list[Any]:
        """Run a script for every chat: one round trip, two when the server has to be told the script first."""
        if not chats:
            return []

        async def in_one(command: str, what: str) -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for chat in chats:
                    words = (*chat[1:], *arguments, *self._telling(chat.request_id))
                    pipeline.execute_command(command, what, 1, self._key(chat.request_id), *words)
                return await pipeline.execute()

        with _translated():
            try:
                return await in_one("EVALSHA", str(script.sha))
            except NoScriptError:
                return await in_one("EVAL", str(script.script))  # each may be run twice: they are idempotent

    async def release(self, chat: Chat) -> None:
        await self._run(self._release, chat.request_id, chat.generation, _ms(self.options.remember_s))

    @asynccontextmanager
    async def listen(self, worker: str) -> AsyncIterator[AsyncIterator[ChatKey]]:
        # A bare connection, not redis-py's PubSub: that one reconnects by itself and hides that messages were lost.
        connection = self._pool.connection_class(
            **{
                **self._pool.connection_kwargs,
                "client_name": f"{self.options.namespace}-listener",
                "retry": Retry(NoBackoff(), 0),
            }
        )

        async def keys() -> AsyncIterator[ChatKey]:
            while True:
                with _translated():
                    reply = await connection.read_response(timeout=self.options.keepalive_s / 2)
                    if reply is None:  # silence: either nobody aborts, or the connection is half-open
                        await connection.send_command("PING")
                        reply = await connection.read_response(timeout=self.options.keepalive_s / 2)
                        if reply is None:
                            raise StoreUnavailableError("Redis does not answer on the listener's connection")
                if reply[0] == b"sunsubscribe":  # a cluster has moved the slot: no message comes here any more
                    raise StoreUnavailableError("Redis has ended the subscription")
                if reply[0] in (b"message", b"smessage"):
                    generation, space, request_id = reply[2].decode(errors="replace").partition(" ")
                    if space:
                        yield ChatKey(request_id, generation)
                    else:
                        self.dropped += 1  # no message of ours

        try:
            with _translated():
                await connection.connect()  # type: ignore[no-untyped-call]
                subscribe = "SSUBSCRIBE" if self._publish == "SPUBLISH" else "SUBSCRIBE"
                for bucket in range(BUCKETS):  # one command each: in a cluster they are in different slots
                    await connection.send_command(subscribe, self._channel(bucket) + worker)
                for _ in range(BUCKETS):
                    confirmation: Any = await connection.read_response()
                    if confirmation[0] != subscribe.lower().encode():
                        raise StoreUnavailableError("Redis did not confirm the subscription")
            yield keys()
        finally:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _get(self, keys: list[str]) -> list[Any]:
        """The values of all keys in one round trip: one MGET for each slot."""
        slots: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            slots.setdefault(key[: key.index("}")], []).append(index)
        if len(slots) == 1:
            return list(await self._execute("MGET", *keys))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for indices in slots.values():
                pipeline.mget([keys[index] for index in indices])
            answers = await pipeline.execute()
        values: list[Any] = [None] * len(keys)
        for indices, answer in zip(slots.values(), answers, strict=True):
            for index, value in zip(indices, answer, strict=True):
                values[index] = value
        return values

    def _telling(self, request_id: str) -> tuple[str, str, str]:
        """What a script needs to tell the owner: the id, the command, the channel without the worker."""
        return request_id, self._publish, self._channel(_bucket(request_id))

    def _key(self, request_id: str) -> str:
        return f"{self._prefix}{{{_bucket(request_id)}}}:{request_id}"

    def _channel(self, bucket: int) -> str:
        return f"{self._prefix}{{{bucket}}}:abort:"


def _bucket(request_id: str) -> int:
    return crc32(request_id.encode()) % BUCKETS


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailableError(f"Redis: {error}") from error
