"""One connection, or one question to the servers, that concurrent callers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Generic, TypeVar

from redis.exceptions import ConnectionError as LostError

from backends.redis.wire import Wire

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """Runs a coroutine at most once at a time; all callers of that time get its result."""

    def __init__(self, start: Callable[[], Coroutine[None, None, Result]]) -> None:
        self._start = start
        self._running: asyncio.Task[Result] | None = None

    def begin(self) -> asyncio.Task[Result]:
        """Start it unless it runs already. Nobody has to wait for the task."""
        if self._running is None:
            self._running = asyncio.create_task(self._start())
            self._running.add_done_callback(self._on_end)
        return self._running

    async def result(self) -> Result:
        """Run it, or wait for the running one. Raises its exception, or LostError if it was cancelled."""
        running = self.begin()
        await asyncio.wait([running])  # with `shield`, its cancellation would look like one of this caller
        if running.cancelled():
            raise LostError("the connection was given up")
        return running.result()

    def cancel(self) -> None:
        """Cancel the running one."""
        if self._running is not None:
            self._running.cancel()

    async def wait_cancelled(self) -> None:
        """Cancel the running one and wait for its end."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _on_end(self, ended: asyncio.Task[Result]) -> None:
        self._running = None
        if not ended.cancelled():
            ended.exception()  # asyncio logs an exception that nobody retrieves


class SharedWire:
    """A connection that is opened by `connect` on first use, and again after a loss."""

    def __init__(self, connect: Callable[[], Coroutine[None, None, Wire]]) -> None:
        self._connect = connect
        self._opening = SingleFlight(self._open)
        self._wire: Wire | None = None
        self._abandoned = False

    @property
    def current(self) -> Wire | None:
        """The connection if it is open."""
        return None if self._wire is None or self._wire.closed else self._wire

    async def get(self) -> Wire:
        """Return the open connection. Raises RedisError, OSError, TimeoutError."""
        return self.current or await self._opening.result()

    def drop(self) -> None:
        """Close the connection; `get` opens another one."""
        if self._wire is not None:
            self._wire.close()

    def abandon(self) -> None:
        """Close the connection for good; callers that wait for it get LostError."""
        self._abandoned = True
        self._opening.cancel()
        self.drop()

    async def close(self) -> None:
        """Close the connection, also one that is being opened, and wait for its task."""
        await self._opening.wait_cancelled()
        self.drop()

    async def _open(self) -> Wire:
        self._wire = await self._connect()
        if self._abandoned:  # and redis-py has swallowed the cancellation
            self.drop()
        return self._wire


async def close_all(connections: Iterable[SharedWire]) -> None:
    """Close all at once, also if cancelled while their tasks end."""
    shared = tuple(connections)
    for each in shared:
        each.abandon()
    for each in shared:
        await each.close()
