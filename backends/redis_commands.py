"""The Redis store's one connection for commands: opened when it is needed, opened again when it was lost."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from hashlib import sha1
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, ResponseError

from backends.redis_errors import is_refusal
from backends.redis_wire import Command, Wire


class Commands:
    """Sends commands over a connection that `make` gives, not yet open. Raises RedisError, OSError, TimeoutError.

    A server that refuses (see `is_refusal`) may have been demoted, so its connection is closed and the address is
    dialled again; `refused` is called when that happens.
    """

    def __init__(
        self, make: Callable[[], AbstractConnection], timeout_s: float, refused: Callable[[], object] = lambda: None
    ) -> None:
        self._make = make
        self._refused = refused
        self._timeout_s = timeout_s
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[Wire] | None = None

    async def ask(self, *commands: Command) -> list[Any]:
        """Their replies: one round trip. A connection that was lost is no outage, so they may be sent twice."""
        wire = self._wire
        if wire is None or wire.closed:
            return await self._ask_over(await self._connected(), commands)
        try:
            return await self._ask_over(wire, commands)
        except ResponseError as error:
            if not is_refusal(error):
                raise
        except (LostError, TimeoutError):
            pass
        return await self._ask_over(await self._connected(), commands)

    async def _ask_over(self, wire: Wire, commands: tuple[Command, ...]) -> list[Any]:
        """Ask, and close the connection to a server that refuses."""
        try:
            return await wire.ask(*commands)
        except ResponseError as error:
            if is_refusal(error) and not wire.closed:
                wire.close()
                self._refused()
            raise

    async def run(self, script: str, *runs: Command) -> list[Any]:
        """What one script gives for each of these: its key, and its arguments.

        Two round trips when the server has to be told the script first; then some may run twice.
        """
        try:
            return await self.ask(*(("EVALSHA", _sha(script), 1, *each) for each in runs))
        except NoScriptError:
            return await self.ask(*(("EVAL", script, 1, *each) for each in runs))

    async def close(self) -> None:
        """The connection is closed."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._wire is not None:
            self._wire.close()

    async def _connected(self) -> Wire:
        """Whoever needs it waits for the same one."""
        if self._wire is not None and not self._wire.closed:
            return self._wire
        if self._connecting is None:
            self._connecting = asyncio.create_task(Wire.open(self._make(), self._timeout_s))
            self._connecting.add_done_callback(self._has_tried)
        return await asyncio.shield(self._connecting)

    def _has_tried(self, connecting: asyncio.Task[Wire]) -> None:
        self._connecting = None
        if not connecting.cancelled() and connecting.exception() is None:
            self._wire = connecting.result()


@functools.cache
def _sha(script: str) -> str:
    return sha1(script.encode()).hexdigest()  # noqa: S324 - how Redis names its scripts, no secret
