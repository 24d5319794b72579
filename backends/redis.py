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
# Scripts that are about a chat get its generation, owner and worker as their first arguments.
_PARSE = """
local value = redis.call('GET', KEYS[1])
local state, generation, worker, owner
if value then state, generation, worker, owner = string.match(value, '^(%S+) (%S+) (%S+) (.*)$') end
"""
_REGISTER = (
    _PARSE
    + """
if (state == 'live' or state == 'aborted') and generation ~= ARGV[1] then return 'duplicate' end
local new = 'live'
if state == 'early' and owner == ARGV[2] then new = 'aborted' end
redis.call('SET', KEYS[1], new .. ' ' .. ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[4])
return new
"""
)
_FLAG = (
    _PARSE
    + """
if not value then
  if ARGV[2] == '0' then return 'unknown' end
  redis.call('SET', KEYS[1], 'early - - ' .. ARGV[1], 'PX', ARGV[2])
  return 'remembered'
end
if owner ~= ARGV[1] or state == 'ended' then return 'unknown' end
if state == 'early' then return 'remembered' end
if state == 'aborted' then return {'already_aborted', generation, worker} end
redis.call('SET', KEYS[1], 'aborted ' .. generation .. ' ' .. worker .. ' ' .. owner, 'KEEPTTL')
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3] .. worker, generation .. ' ' .. ARGV[4]) end
return {'accepted', generation, worker}
"""
)
_RENEW = (
    _PARSE
    + """
if value and state ~= 'early' and (generation ~= ARGV[1] or state == 'ended') then return 'gone' end
local new = ARGV[5]
if state == 'aborted' or (state == 'early' and owner == ARGV[2]) then new = 'aborted' end
redis.call('SET', KEYS[1], new .. ' ' .. ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[4])
if new == 'aborted' and state ~= new and ARGV[6] ~= '' then
  redis.call('PUBLISH', ARGV[6] .. ARGV[3], ARGV[1] .. ' ' .. ARGV[7])
end
return new
"""
)
_RELEASE = (
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
        self._register = self._redis.register_script(_REGISTER)
        self._flag = self._redis.register_script(_FLAG)
        self._renew = self._redis.register_script(_RENEW)
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
            state = await self._register(
                keys=[self._key(chat.request_id)],
                args=[*chat[1:], _ms(self.options.ttl_s)],
            )
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

    async def renew(self, chats: Collection[Chat], *, aborted: bool = False) -> set[ChatKey]:
        if not chats:
            return set()
        state = State.ABORTED if aborted else State.LIVE
        lives_s = self.options.remember_s if aborted else self.options.ttl_s
        with _translated():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for chat in chats:
                    await self._renew(
                        keys=[self._key(chat.request_id)],
                        args=[*chat[1:], _ms(lives_s), state, self._told, chat.request_id],
                        client=pipeline,
                    )
                states = await pipeline.execute()
        return {chat.key for chat, now in zip(chats, states, strict=True) if now == b"aborted"}

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
