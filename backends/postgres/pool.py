"""The PostgreSQL store's connections for statements: a pool, and one spare connection outside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg

from backends.base import Options
from backends.postgres.connect import connect
from backends.postgres.errors import is_refusal
from backends.postgres.url import Address

HALF_OPEN_AFTER_S = 0.2
"""A statement cancelled after this time may have been on a half-open connection; an earlier cancellation may not."""


class Pool:
    """Runs statements, each on a connection of its own. Raises what asyncpg raises.

    A server that refuses (see `is_refusal`) may have been demoted: every connection opened before is closed, the
    address is dialled again, and `on_refusal` is called.
    """

    def __init__(self, options: Options, connections: int, on_refusal: Callable[[], object]) -> None:
        self._options = options
        self._on_refusal = on_refusal
        self._connections = connections
        self._address: Address
        self._pool: asyncpg.Pool
        self._spare: Any = None  # an idle connection kept outside the pool while no statement waits for one
        self._waiting = 0
        self._opened: WeakKeyDictionary[asyncpg.Connection, float] = WeakKeyDictionary()  # at (monotonic s)

    async def open(self, address: Address) -> None:
        """Open the first connections."""
        self._address = address
        self._pool = await asyncpg.create_pool(
            min_size=2,
            max_size=self._connections,
            command_timeout=self._options.command_timeout_s,
            connect=self._connect,
            reset=_keep_session,
            # A flag may be lost in a crash (see the sql module), so statements need not wait for the disk.
            **address.arguments({"synchronous_commit": "off"}, f"{self._options.namespace}-commands"),
        )

    def terminate(self) -> None:
        """Close every connection."""
        self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Open a transaction on a pooled connection."""
        started_s = time.monotonic()
        async with self._pool.acquire() as connection:
            try:
                async with connection.transaction():
                    yield connection
            except asyncpg.PostgresError as error:
                self._check_refusal(error, started_s)
                raise

    async def fetch(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        """Run one statement and return its rows."""
        connection = await self._acquire()
        started_s = time.monotonic()
        try:
            rows = list(await connection.fetch(statement, *arguments))
        except (TimeoutError, asyncio.CancelledError):
            # Not released: asyncpg would wait until the server has cancelled the statement. The pool replaces a
            # connection that was terminated.
            _terminate(connection)
            if time.monotonic() - started_s >= HALF_OPEN_AFTER_S:
                # It may be half-open, and so may those opened before it, which the pool would hand out one by one.
                self._terminate_opened_before(started_s)
            raise
        except asyncpg.PostgresError as error:
            self._check_refusal(error, started_s)
            await self._release(connection)
            raise
        except AttributeError as error:
            await self._release(connection)
            if not connection.is_closed():
                raise
            # asyncpg raises this when the connection is terminated between two steps of a statement.
            raise asyncpg.InterfaceError("the connection was terminated") from error
        except BaseException:
            await self._release(connection)
            raise
        await self._release(connection)
        return rows

    def _check_refusal(self, error: asyncpg.PostgresError, started_s: float) -> None:
        if is_refusal(error):
            self._terminate_opened_before(started_s)
            self._on_refusal()

    def _terminate_opened_before(self, started_s: float) -> None:
        for connection, opened_s in tuple(self._opened.items()):
            if opened_s <= started_s:
                connection.terminate()

    async def _acquire(self) -> Any:
        """Return the spare connection, or one of the pool: acquiring from the pool costs two task switches."""
        connection, self._spare = self._spare, None
        if connection is not None:
            if _is_open(connection):
                return connection
            _terminate(connection)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._options.command_timeout_s):
                return await self._pool.acquire()
        finally:
            self._waiting -= 1

    async def _release(self, connection: Any) -> None:
        if not _is_open(connection):
            _terminate(connection)  # the pool does not notice a broken protocol by itself
        elif self._spare is None and not self._waiting:
            self._spare = connection
        else:
            # A connection lost at this moment is already back in the pool; the rows are valid.
            with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError):
                await self._pool.release(connection, timeout=self._options.command_timeout_s)

    async def _connect(self, _dsn: None, **options: Any) -> asyncpg.Connection:
        connection = await connect(self._address, **options)
        self._opened[connection] = time.monotonic()
        return connection


def _is_open(connection: Any) -> bool:
    """Whether a pooled connection can be used. One that the pool has taken back raises InterfaceError."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


def _terminate(connection: Any) -> None:
    """Terminate a pooled connection, which frees its place; no effect if the pool has taken it back."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep_session(_connection: object) -> None:
    """Replace asyncpg's reset, a round trip per statement: our statements change nothing in a session."""
