"""The PostgreSQL store's connections for statements: a pool with one at hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg

from backends.base import Options
from backends.postgres_errors import is_refusal
from backends.postgres_url import Address

SUSPICIOUS_S = 0.2
"""A statement that was given up after so long may have been on a dead connection; one given up sooner says nothing."""


class Pool:
    """Lends a connection for one statement's time. Raises what asyncpg raises.

    A server that refuses (see `is_refusal`) may have been demoted, so every connection that was open then is closed and
    the address is dialled again; `refused` is called when that happens.
    """

    def __init__(self, address: Address, options: Options, connections: int, refused: Callable[[], object]) -> None:
        self._address = address
        self._options = options
        self._refused = refused
        self._connections = connections
        self._pool: asyncpg.Pool
        self._at_hand: Any = None  # a connection that stays out of the pool while nobody waits for one
        self._waiting = 0
        self._opened: WeakKeyDictionary[asyncpg.Connection, float] = WeakKeyDictionary()  # and when (monotonic)

    async def open(self) -> None:
        """The first connections are there."""
        self._pool = await asyncpg.create_pool(
            min_size=2,
            max_size=self._connections,
            command_timeout=self._options.command_timeout_s,
            connect=self._connect,
            reset=_keep_session,
            # A flag may be lost in a crash (see postgres_sql), so nobody waits for the disk.
            **self._address.arguments({"synchronous_commit": "off"}, f"{self._options.namespace}-commands"),
        )

    def terminate(self) -> None:
        """Every connection is closed."""
        self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection within a transaction."""
        started_s = time.monotonic()
        async with self._pool.acquire() as connection:
            try:
                async with connection.transaction():
                    yield connection
            except asyncpg.PostgresError as error:
                self._leave(error, started_s)
                raise

    async def fetch(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        """The rows of one statement."""
        connection = await self._take()
        started_s = time.monotonic()
        try:
            rows = list(await connection.fetch(statement, *arguments))
        except (TimeoutError, asyncio.CancelledError):
            # asyncpg would wait on this connection for its own cancellation. The pool takes a connection that has ended
            # back by itself.
            _end(connection)
            if time.monotonic() - started_s >= SUSPICIOUS_S:
                # Half-open, perhaps, and then so are those of its age: the pool would hand them out one by one.
                self._terminate_opened_before(started_s)
            raise
        except asyncpg.PostgresError as error:
            self._leave(error, started_s)
            await self._give_back(connection)
            raise
        except AttributeError as error:
            await self._give_back(connection)
            if not connection.is_closed():
                raise
            # asyncpg's way of saying that its connection was terminated between two steps of the statement.
            raise asyncpg.InterfaceError("the connection was terminated") from error
        except BaseException:
            await self._give_back(connection)
            raise
        await self._give_back(connection)
        return rows

    def _leave(self, error: asyncpg.PostgresError, started_s: float) -> None:
        if is_refusal(error):
            self._terminate_opened_before(started_s)
            self._refused()

    def _terminate_opened_before(self, started_s: float) -> None:
        for connection, opened_s in tuple(self._opened.items()):
            if opened_s <= started_s:
                connection.terminate()

    async def _take(self) -> Any:
        """A connection of the pool's; mostly the one at hand, for a round through the pool costs two tasks."""
        connection, self._at_hand = self._at_hand, None
        if connection is not None:
            if _is_open(connection):
                return connection
            _end(connection)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._options.command_timeout_s):
                return await self._pool.acquire()
        finally:
            self._waiting -= 1

    async def _give_back(self, connection: Any) -> None:
        if not _is_open(connection):
            _end(connection)  # a protocol that broke off has not told the pool yet
        elif self._at_hand is None and not self._waiting:
            self._at_hand = connection
        else:
            # Lost in this very moment, it is the pool's already; what the statement gave is as good as it was.
            with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError):
                await self._pool.release(connection, timeout=self._options.command_timeout_s)

    async def _connect(self, *arguments: Any, **options: Any) -> asyncpg.Connection:
        connection = await asyncpg.connect(*arguments, **options)
        self._opened[connection] = time.monotonic()
        return connection


def _is_open(connection: Any) -> bool:
    """Whether a pool's connection can be used; one that has ended belongs to the pool again, and says so by raising."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


def _end(connection: Any) -> None:
    """End a pool's connection, which gives its place back; nothing to do when the pool has it already."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep_session(_connection: object) -> None:
    """Our statements leave nothing behind in a session; asyncpg's own reset would cost a round trip for each."""
