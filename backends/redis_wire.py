"""One connection to Redis that takes each reply in the moment it arrives: nobody's task has to wake up for it first.

redis-py makes the connection (address, TLS, log-in) and then lends its transport. Its own way of asking costs about
twice as long, and somebody who has pressed Stop waits for that twice, once on each worker.
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

SUSPICIOUS_S = 0.2
"""A connection that said nothing for so long while somebody waited, and gave up, may be half-open: it is ended."""
MESSAGES = (b"message", b"smessage", b"sunsubscribe")
"""What a server sends unasked to who has subscribed. The last: a cluster has moved the slot."""
Command = Sequence[str | int]
_packed: Callable[[tuple[str | int, ...]], bytes] = cast(Any, hiredis.pack_command)  # typed as if for one word only


class Wire(asyncio.Protocol):
    """Commands in, replies out, in their order; many callers at once share it. Made by `open`."""

    def __init__(self, connection: AbstractConnection, timeout_s: float, heard: Callable[[list[Any]], object]) -> None:
        self._connection = connection  # to be kept: forgotten, it would close the transport
        self._timeout_s = timeout_s
        self._heard = heard
        self._parser = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
        self._transport: asyncio.Transport
        self._asked: deque[_Asked] = deque()
        self._lost = asyncio.get_running_loop().create_future()
        self.heard_s = monotonic()
        """When the server said something last."""

    @classmethod
    async def open(
        cls, connection: AbstractConnection, timeout_s: float, heard: Callable[[list[Any]], object] = lambda _: None
    ) -> Self:
        """Connect; `heard` gets every message (see MESSAGES), in the moment it comes.

        Raises what redis-py raises: RedisError or OSError.
        """
        await connection.connect()  # type: ignore[no-untyped-call]
        wire = cls(connection, timeout_s, heard)
        writer = connection._writer  # redis-py has no other name for it
        assert writer is not None  # noqa: S101 - it is connected
        wire._transport = cast(asyncio.Transport, writer.transport)
        wire._transport.set_protocol(wire)
        return wire

    @property
    def closed(self) -> bool:
        """True when it is of no use any more."""
        return self._lost.done() or self._transport.is_closing()

    async def lost(self) -> None:
        """Return when the connection is gone."""
        await asyncio.shield(self._lost)

    def close(self) -> None:
        """End it now; whoever still waits for a reply gets an error."""
        self._transport.abort()
        self._end()

    async def ask(self, *commands: Command) -> list[Any]:
        """The replies to these commands, sent together.

        Raises redis-py's ConnectionError when the connection is or gets lost, TimeoutError when they take too long (if
        the server said nothing at all meanwhile, the connection is ended), and ResponseError for the first reply that
        is an error.
        """
        if self.closed:
            raise LostError("the connection is closed")
        asked = _Asked(len(commands), asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._transport.write(b"".join([_packed(tuple(command)) for command in commands]))
        sent_s = monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                replies: list[Any] = await asked.done
        except (TimeoutError, asyncio.CancelledError):
            if self.heard_s < sent_s <= monotonic() - SUSPICIOUS_S:
                self.close()
            raise
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def data_received(self, data: bytes) -> None:
        """Hand out what is complete."""
        self.heard_s = monotonic()
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not False:
                if type(reply) is list and reply and reply[0] in MESSAGES:
                    self._heard(reply)
                else:
                    asked = self._asked[0]
                    asked.replies.append(reply)
                    if len(asked.replies) == asked.count:
                        self._asked.popleft()
                        if not asked.done.done():  # nobody waits for one that was given up
                            asked.done.set_result(asked.replies)
        except (InvalidResponse, IndexError):  # no Redis, or one that answers what nobody asked
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was, it is gone
        """Tell those who wait."""
        self._end()

    def _end(self) -> None:
        self._connection._close()  # type: ignore[no-untyped-call]  # or it would say that it was left open
        if not self._lost.done():
            self._lost.set_result(None)
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done.done():
                asked.done.set_exception(LostError("the connection was lost"))


class _Asked:
    """Commands that were sent together, and what has come back of them."""

    __slots__ = ("count", "done", "replies")

    def __init__(self, count: int, done: asyncio.Future[list[Any]]) -> None:
        self.count = count
        self.done = done
        self.replies: list[Any] = []


def _error(message: str) -> ResponseError:
    return (NoScriptError if message.startswith("NOSCRIPT") else ResponseError)(message)
