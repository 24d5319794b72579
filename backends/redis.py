"""Abort flags in Redis (or Valkey): one key per chat, one script per change, one pub/sub channel per worker."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

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

# A record is the string "<state> <generation> <worker> <owner>" under one key, so a script touches one key only.
_PARSE = """
local value = redis.call('GET', KEYS[1])
local state, generation, worker, owner
if value then state, generation, worker, owner = string.match(value, '^(%S+) (%S+) (%S+) (.*)$') end
"""
_RECORD = (  # ARGV: generation, owner, worker, TTL in ms, whether a record that was lost is being restored
    _PARSE
    + """
local own = generation == ARGV[1]
local live = state == 'live' or state == 'aborted'
if live and not own then return 'duplicate' end
if own and state == 'ended' and ARGV[5] == '1' then return 'ended' end
local new = 'live'
if own and (state == 'aborted' or state == 'repeated') then new = 'aborted' end
if state == 'early' and owner == ARGV[2] then new = 'aborted' end
redis.call('SET', KEYS[1], new .. ' ' .. ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[4])
return new
"""
)
_FLAG = (  # ARGV: owner, how long to remember in ms or 0, channel prefix or '', request id
    _PARSE
    + """
if not value then
  if ARGV[2] == '0' then return 'unknown' end
  redis.call('SET', KEYS[1], 'early - - ' .. ARGV[1], 'PX', ARGV[2])
  return 'remembered'
end
if owner ~= ARGV[1] or state == 'ended' then return 'unknown' end
if state == 'early' then return 'remembered' end
if state == 'aborted' or state == 'repeated' then return {'already_aborted', generation, worker} end
redis.call('SET', KEYS[1], 'aborted ' .. generation .. ' ' .. worker .. ' ' .. owner, 'KEEPTTL')
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3] .. worker, generation .. ' ' .. ARGV[4]) end
return {'accepted', generation, worker}
"""
)
_REPEAT = (  # ARGV: generation, owner, worker, how long to remember in ms, channel prefix or '', request id
    _PARSE
    + """
if not value then
  redis.call('SET', KEYS[1], 'repeated ' .. ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[4])
elseif generation ~= ARGV[1] or state == 'ended' then
  return 0
elseif state == 'live' then
  redis.call('SET', KEYS[1], 'aborted ' .. generation .. ' ' .. worker .. ' ' .. owner, 'KEEPTTL')
end
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5] .. ARGV[3], ARGV[1] .. ' ' .. ARGV[6]) end
return 1
"""
)
_RELEASE = (  # ARGV: generation, how long to keep the tombstone in ms
    _PARSE
    + """
if generation == ARGV[1] then
  redis.call('SET', KEYS[1], 'ended ' .. generation .. ' ' .. worker .. ' ' .. owner, 'PX', ARGV[2])
end
"""
)


class RedisStore(Store):
    """One round trip per operation; commands go through a bounded pool, the listener has a connection of its own."""

    name: ClassVar[str] = "redis"

    def __init__(
        self,
        url: str,
        options: Options,
        *,
        notify: bool,
        prefix: str = "stopwatch:",
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
                client_name="stopwatch-commands",
            )
        except ValueError as error:
            raise BackendUrlError(f"not a Redis URL: {error}") from error
        self._redis: Redis = Redis.from_pool(self._pool)
        self._prefix = prefix
        self._told = self._channel("") if notify else ""  # empty: nobody is told
        self._record = self._redis.register_script(_RECORD)
        self._flag = self._redis.register_script(_FLAG)
        self._repeat = self._redis.register_script(_REPEAT)
        self._release = self._redis.register_script(_RELEASE)

    async def __aenter__(self) -> Self:
        with _translated():
            await self._redis.ping()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._redis.aclose()
        await self._pool.aclose()

    async def register(self, chat: Chat) -> bool:
        with _translated():
            state = await self._record(keys=[self._key(chat.request_id)], args=[*chat[1:], _ms(self.options.ttl_s), 0])
        if state == b"duplicate":
            raise DuplicateChatError(chat.request_id)
        return bool(state == b"aborted")

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:
        with _translated():
            reply = await self._flag(
                keys=[self._key(request_id)],
                args=[owner, _ms(self.options.remember_s) if remember else 0, self._told, request_id],
            )
        if isinstance(reply, bytes):
            return Flagged(AbortOutcome(reply.decode()))
        outcome, generation, worker = (part.decode() for part in reply)
        return Flagged(AbortOutcome(outcome), Chat(request_id, generation, owner, worker))

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        with _translated():
            values: list[Any] = await self._redis.mget([self._key(chat.request_id) for chat in chats])
        states: list[State | None] = []
        for chat, value in zip(chats, values, strict=True):
            state, generation = value.decode().split(" ", 2)[:2] if value is not None else ("", "")
            states.append(State(state) if generation == chat.generation else None)
        return states

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        states = await self._for_each(self._record, chats, _ms(self.options.ttl_s), 1)
        return {chat.key for chat, state in zip(chats, states, strict=True) if state == b"aborted"}

    async def repeat(self, chats: Collection[Chat]) -> None:
        await self._for_each(self._repeat, chats, _ms(self.options.remember_s), self._told)

    async def _for_each(self, script: AsyncScript, chats: Collection[Chat], *arguments: str | int) -> list[Any]:
        """Run a script for every chat, in one round trip."""
        if not chats:
            return []
        with _translated():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for chat in chats:
                    await script(
                        keys=[self._key(chat.request_id)],
                        args=[*chat[1:], *arguments, chat.request_id],
                        client=pipeline,
                    )
                return await pipeline.execute()

    async def release(self, chat: Chat) -> None:
        with _translated():
            await self._release(keys=[self._key(chat.request_id)], args=[chat.generation, _ms(self.options.remember_s)])

    @asynccontextmanager
    async def listen(self, worker: str) -> AsyncIterator[AsyncIterator[ChatKey]]:
        # A bare connection, not redis-py's PubSub: that one reconnects by itself and hides that messages were lost.
        connection = self._pool.connection_class(
            **{**self._pool.connection_kwargs, "client_name": "stopwatch-listener", "retry": Retry(NoBackoff(), 0)}
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
                if reply[0] == b"message":
                    generation, request_id = reply[2].decode().split(" ", 1)
                    yield ChatKey(request_id, generation)

        try:
            with _translated():
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("SUBSCRIBE", self._channel(worker))
                confirmation: Any = await connection.read_response()
                if confirmation[0] != b"subscribe":
                    raise StoreUnavailableError("Redis did not confirm the subscription")
            yield keys()
        finally:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    def _key(self, request_id: str) -> str:
        return f"{self._prefix}{{{request_id}}}"

    def _channel(self, worker: str) -> str:
        return f"{self._prefix}abort:{worker}"


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailableError(f"Redis: {error}") from error
