"""One connection to Redis. Resolves replies inside `data_received`, saving one task switch per reply.

redis-py connects (address, TLS, log-in) and then hands over its transport. Its own commands take about twice as long,
and a Stop would pay for that twice, once on each worker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Self, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError

HALF_OPEN_AFTER_S = 0.2
"""A connection that received nothing for this long while a caller waited and timed out is closed as half-open."""
MESSAGES = (b"message", b"smessage", b"sunsubscribe")
"""Unsolicited messages to a subscriber. The last: a cluster has moved the slot."""
Command = Sequence[str | int]
_packed: Callable[[tuple[str | int, ...]], bytes] = cast(Any, hiredis.pack_command)  # its type allows one word only


class Wire(asyncio.Protocol):
    """Sends commands and returns replies in order; concurrent callers share it. Create it with `open`."""

    def __init__(
        self, connection: AbstractConnection, timeout_s: float, on_message: Callable[[list[Any]], object]
    ) -> None:
        self._connection = connection  # kept alive: its finalizer would close the transport
        self._timeout_s = timeout_s
        self._on_message = on_message
        self._parser = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
        self._transport: asyncio.Transport
        self._pending: deque[_Pending] = deque()
        self._lost = asyncio.get_running_loop().create_future()
        self.received_s = monotonic()
        """When the server last sent anything."""

    @classmethod
    async def open(
        cls,
        connection: AbstractConnection,
        timeout_s: float,
        on_message: Callable[[list[Any]], object] = id,
    ) -> Self:
        """Connect; `on_message` is called with every message (see MESSAGES) as it arrives.

        Raises what redis-py raises: RedisError or OSError.
        """
        await connection.connect()  # type: ignore[no-untyped-call]
        wire = cls(connection, timeout_s, on_message)
        writer = connection._writer  # redis-py has no public name for it
        assert writer is not None  # noqa: S101 - it is connected
        wire._transport = cast(asyncio.Transport, writer.transport)
        wire._transport.set_protocol(wire)
        return wire

    @property
    def closed(self) -> bool:
        """True if the connection is lost or closing."""
        return self._lost.done() or self._transport.is_closing()

    async def wait_lost(self) -> None:
        """Return when the connection is lost."""
        await asyncio.shield(self._lost)

    def close(self) -> None:
        """Close immediately; callers that wait for a reply get an error."""
        self._transport.abort()
        self._end()

    async def execute(self, *commands: Command) -> list[Any]:
        """Send the commands together and return their replies. Raises as `replies` does, and the first error reply."""
        replies = await self.replies(*commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def replies(self, *commands: Command) -> list[Any]:
        """Send the commands together and return their replies, errors (ResponseError) among them.

        Raises redis-py's ConnectionError if the connection is lost, and TimeoutError; the connection is then closed if
        nothing at all was received meanwhile.
        """
        if self.closed:
            raise LostError("the connection is closed")
        pending = _Pending(len(commands), asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._transport.write(b"".join([_packed(tuple(command)) for command in commands]))
        sent_s = monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await pending.done
        except (TimeoutError, asyncio.CancelledError):
            if self.received_s < sent_s <= monotonic() - HALF_OPEN_AFTER_S:
                self.close()
            raise

    def data_received(self, data: bytes) -> None:
        """Resolve complete replies and deliver messages."""
        self.received_s = monotonic()
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not False:
                if type(reply) is list and reply and reply[0] in MESSAGES:
                    self._on_message(reply)
                else:
                    pending = self._pending[0]
                    pending.replies.append(reply)
                    if len(pending.replies) == pending.count:
                        self._pending.popleft()
                        if not pending.done.done():  # the caller may have been cancelled
                            pending.done.set_result(pending.replies)
        except (InvalidResponse, IndexError):  # not Redis, or replies without a command
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the cause does not matter
        """Fail the pending commands."""
        self._end()

    def _end(self) -> None:
        self._connection._close()  # type: ignore[no-untyped-call]  # else redis-py warns of an open connection
        if not self._lost.done():
            self._lost.set_result(None)
        while self._pending:
            pending = self._pending.popleft()
            if not pending.done.done():
                pending.done.set_exception(LostError("the connection was lost"))


class _Pending:
    """Commands that were sent together, and their replies so far."""

    __slots__ = ("count", "done", "replies")

    def __init__(self, count: int, done: asyncio.Future[list[Any]]) -> None:
        self.count = count
        self.done = done
        self.replies: list[Any] = []


def _error(message: str) -> ResponseError:
    return (NoScriptError if message.startswith("NOSCRIPT") else ResponseError)(message)
