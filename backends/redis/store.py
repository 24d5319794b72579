"""Abort flags in Redis (or Valkey): one key per chat, one script per change, one pub/sub channel per worker."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self

from redis.exceptions import RedisError

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
from backends.errors import DuplicateChatError, StoreRefusedError, StoreUnavailableError
from backends.redis import scripts
from backends.redis.cluster_commands import ClusterCommands
from backends.redis.commands import Commands
from backends.redis.dial import Dialer
from backends.redis.errors import acl_line, unavailable
from backends.redis.keys import ALL_WORKERS, Names, bucket_of
from backends.redis.listener import subscribe, wait_for_loss
from backends.redis.sentinel import Sentinels
from backends.redis.wire import Command, Wire
from backends.refusals import RefusalLog, check_rights


class RedisStore(Store):
    """One round trip per operation; all commands share one connection, the listener has another.

    The server is a single node or behaves like one, or the master that Sentinels name. For a cluster see
    `ClusterStore`.
    """

    name: ClassVar[str] = "redis"
    deaf_hint: ClassVar[str] = "check for a proxy without pub/sub, and the channel rights of this Redis user"

    def __init__(self, url: str, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)
        self._dialer, self._commands = self._servers(url)
        self._listeners: set[Wire] = set()
        self._refusals = RefusalLog()
        self._names = Names(options.namespace)
        self._publish = "SPUBLISH" if notify else ""  # the command; empty: no messages are sent

    async def __aenter__(self) -> Self:
        try:
            if self._publish:
                with self._translated():
                    ((sharded,),) = await self._commands.execute(("COMMAND", "INFO", "SPUBLISH"))
                if not sharded:  # older than Redis 7
                    self._publish = "PUBLISH"
                async with self.listen("probe", lambda _: None):
                    pass
            await check_rights(self)
        except BaseException:
            await self._close()
            raise
        self._refusals.started = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await self._commands.close()

    async def register(self, chat: Chat) -> bool:
        state = await self._run(scripts.RECORD, chat.request_id, *chat[1:], _ms(self.options.ttl_s), 0)
        if state == b"duplicate":
            raise DuplicateChatError(chat.request_id)
        return bool(state == b"aborted")

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> FlagResult:
        remember_ms = _ms(self.options.remember_s) if remember else 0
        reply = await self._run(scripts.FLAG, request_id, owner, remember_ms, *self._publish_arguments(request_id))
        if isinstance(reply, bytes):
            return FlagResult(AbortOutcome(reply.decode()))
        outcome, generation, worker = (part.decode() for part in reply)
        return FlagResult(AbortOutcome(outcome), Chat(request_id, generation, owner, worker))

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        with self._translated():
            values = await self._commands.get([self._names.chat(chat.request_id) for chat in chats])
        states: list[State | None] = []
        for chat, value in zip(chats, values, strict=True):
            state, generation = value.decode().split(" ", 2)[:2] if value is not None else ("", "")
            states.append(State(state) if generation == chat.generation else None)
        return states

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        states = await self._run_each(scripts.RECORD, chats, _ms(self.options.ttl_s), 1)
        return {chat.key for chat, state in zip(chats, states, strict=True) if state in (b"aborted", b"duplicate")}

    async def reassert(self, chats: Collection[Chat]) -> set[ChatKey]:
        reasserted = await self._run_each(scripts.REASSERT, chats, _ms(self.options.remember_s))
        return {chat.key for chat, done in zip(chats, reasserted, strict=True) if done}

    async def release(self, chat: Chat) -> bool:
        remember_ms = _ms(self.options.remember_s)
        return bool(await self._run(scripts.RELEASE, chat.request_id, chat.generation, remember_ms))

    async def heartbeat(self, worker: str, number: int) -> bool:
        ttl_ms, channel = _ms(self.options.heartbeat_ttl_s), self._names.channel(bucket_of(worker), worker)
        with self._translated():
            (held,) = await self._commands.run(
                scripts.HEARTBEAT,
                (self._names.heartbeat(worker), ttl_ms, self._publish, channel, f"{HEARTBEAT} {number}"),
            )
        return bool(held)

    async def seek(self, worker: str, request_id: str) -> bool:
        commands: list[Command] = [("GET", self._names.heartbeat(worker))]
        if self._publish:
            commands.append((self._publish, self._names.channel(0, ALL_WORKERS), f"{SEEK} {request_id}"))
        with self._translated():
            held, *_ = await self._commands.execute(*commands)
        return held is not None

    @asynccontextmanager
    async def listen(self, worker: str, on_message: MessageHandler) -> AsyncIterator[WaitForLoss]:
        async def until_lost() -> None:
            with self._translated():
                await wait_for_loss(wire, self.options.silence_s)
            raise StoreUnavailableError(f"Redis at {self._dialer.address}: the listener's connection was lost")

        with self._translated():
            wire = await subscribe(
                self._dialer,
                self._names.channels(worker),
                on_message,
                command=self._subscribe_command,
                reply_s=self._listener_reply_s,
            )
        self._listeners.add(wire)
        try:
            yield until_lost
        finally:
            self._listeners.discard(wire)
            wire.close()

    @property
    def _subscribe_command(self) -> str:
        return "SSUBSCRIBE" if self._publish == "SPUBLISH" else "SUBSCRIBE"

    @property
    def _listener_reply_s(self) -> float:
        return self.options.keepalive_s - self.options.silence_s

    def _drop_listeners(self) -> None:
        """Close every listener: aborts may be published on another server than the one that refuses commands."""
        for wire in tuple(self._listeners):
            wire.close()

    async def _run(self, script: str, request_id: str, *arguments: str | int) -> Any:
        """Run a script for one chat: one round trip, two if the server does not have the script yet."""
        with self._translated():
            (reply,) = await self._commands.run(script, (self._names.chat(request_id), *arguments))
            return reply

    async def _run_each(self, script: str, chats: Collection[Chat], *arguments: int) -> list[Any]:
        """Run a script for every chat: one round trip, two if the server does not have the script yet."""
        if not chats:
            return []
        runs: list[Command] = [
            (
                self._names.chat(chat.request_id),
                *chat[1:],
                *arguments,
                *self._publish_arguments(chat.request_id),
            )
            for chat in chats
        ]
        with self._translated():
            return await self._commands.run(script, *runs)

    def _publish_arguments(self, request_id: str) -> tuple[str, str, str]:
        """A script's arguments for notifying the owner: the id, the command, the channel without the worker."""
        return request_id, self._publish, self._names.channel(bucket_of(request_id))

    def _servers(self, url: str) -> tuple[Dialer, Commands | ClusterCommands]:
        """What opens connections to the servers in the URL, and what sends commands to them."""

        def leave() -> None:
            """Leave the old master: it may be frozen, and aborts are published on the new one."""
            commands.drop()
            self._drop_listeners()

        options = self.options
        sentinels = url.startswith(("redis+sentinel:", "rediss+sentinel:"))
        dialer = Sentinels(url, options, leave) if sentinels else Dialer(url, options)
        commands = Commands(lambda: dialer.open("commands", options.command_timeout_s), self._drop_listeners)
        return dialer, commands

    def _acl_line(self) -> str:
        return acl_line(self.options.namespace, self._publish, self._dialer.rights)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            translated = unavailable(error, self._dialer.address, self._acl_line())
            if isinstance(translated, StoreRefusedError):
                self._refusals.warn(str(translated))
            raise translated from error


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
