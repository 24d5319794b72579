"""The PostgreSQL store's connections for statements: a pool with one at hand, and asyncpg's errors as ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg

from backends.base import Options, StoreUnavailableError

SUSPICIOUS_S = 0.2
"""A statement that was given up after so long may have been on a dead connection; one given up sooner says nothing."""
RETRIED = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
_LOST = (*RETRIED, asyncpg.InternalClientError, OSError, TimeoutError)


class Pool:
    """Lends a connection for one statement's time. Raises what asyncpg raises; see `translated`."""

    def __init__(self, url: str, options: Options, connections: int) -> None:
        self._url = url
        self._options = options
        self._connections = connections
        self._pool: asyncpg.Pool
        self._at_hand: Any = None  # a connection that stays out of the pool while nobody waits for one
        self._waiting = 0
        self._opened: WeakKeyDictionary[asyncpg.Connection, float] = WeakKeyDictionary()  # and when (monotonic)

    async def open(self) -> None:
        """The first connections are there."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=2,
            max_size=self._connections,
            command_timeout=self._options.command_timeout_s,
            timeout=self._options.command_timeout_s,
            connect=self._connect,
            reset=_keep_session,
            # A flag may be lost in a crash (see postgres_sql), so nobody waits for the disk.
            server_settings={"synchronous_commit": "off", "application_name": f"{self._options.namespace}-commands"},
        )

    def terminate(self) -> None:
        """Every connection is closed."""
        self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection within a transaction."""
        async with self._pool.acquire() as connection, connection.transaction():
            yield connection

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
                for old, opened_s in tuple(self._opened.items()):
                    if opened_s <= started_s:
                        old.terminate()
            raise
        except BaseException:
            await self._give_back(connection)
            raise
        await self._give_back(connection)
        return rows

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


@contextmanager
def translated() -> Iterator[None]:
    """Have asyncpg's errors raised as `StoreUnavailableError`."""
    try:
        yield
    except _LOST as error:
        raise StoreUnavailableError(f"PostgreSQL: {error or type(error).__name__}") from error
    except asyncpg.PostgresError as error:
        # The rest is refused log-ins, missing databases, a full disk: the store is there and of no use.
        raise StoreUnavailableError(f"PostgreSQL: {error}") from error
