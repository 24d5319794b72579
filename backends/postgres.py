"""Abort flags in PostgreSQL: one row per chat, one statement per change, LISTEN/NOTIFY on one channel per worker."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import asyncpg

from backends import postgres_sql as sql
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

_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,29}")  # with the rest of a channel's name within PostgreSQL's 63 bytes
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class PostgresStore(Store):
    """Statements go through a pool and hold a connection for their own time only; the listener has its own connection.

    LISTEN does not work through a transaction-pooling PgBouncer.
    """

    name: ClassVar[str] = "postgres"

    def __init__(
        self,
        url: str,
        options: Options,
        *,
        notify: bool,
        connections: int = 10,
    ) -> None:
        super().__init__(options, notify=notify)
        if not _SCHEMA_NAME.fullmatch(options.namespace):
            raise BackendUrlError(
                f"the namespace {options.namespace!r} is no schema name: use a-z, 0-9, _ (30 at most)"
            )
        self._url = url
        self._connections = connections
        self._pool: asyncpg.Pool
        self._at_hand: Any = None  # a connection that stays out of the pool while nobody waits for one
        self._waiting = 0
        self._opened: WeakKeyDictionary[asyncpg.Connection, float] = WeakKeyDictionary()  # and when (monotonic)

    async def __aenter__(self) -> Self:
        with _translated():
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=2,
                max_size=self._connections,
                command_timeout=self.options.command_timeout_s,
                timeout=self.options.command_timeout_s,
                connect=self._connect,
                reset=_keep_session,
                # A flag may be lost in a crash (see above), so nobody waits for the disk.
                server_settings={"synchronous_commit": "off", "application_name": f"{self.options.namespace}-commands"},
            )
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", sql.SCHEMA_LOCK)
                await connection.execute(sql.SCHEMA.format(schema=self.options.namespace))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.terminate()

    async def register(self, chat: Chat) -> bool:
        rows = await self._fetch(sql.RECORD, *_columns([chat]), self.options.ttl_s)
        if not rows:
            raise DuplicateChatError(chat.request_id)
        return bool(rows[0]["state"] == State.ABORTED)

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:
        while True:
            if rows := await self._fetch(sql.FLAG, request_id, owner, self.notify):
                generation, worker, _ = rows[0]
                return Flagged(AbortOutcome.ACCEPTED, Chat(request_id, generation, owner, worker))
            rows = await self._fetch(sql.FOUND, request_id, owner)
            if not rows:
                if not remember:
                    return Flagged(AbortOutcome.UNKNOWN)
                if await self._fetch(sql.REMEMBER, request_id, owner, self.options.remember_s):
                    return Flagged(AbortOutcome.REMEMBERED)
                continue
            state, generation, worker = rows[0]
            match state:
                case "aborted" | "repeated":
                    return Flagged(AbortOutcome.ALREADY_ABORTED, Chat(request_id, generation, owner, worker))
                case "early":
                    return Flagged(AbortOutcome.REMEMBERED)
                case "ended" | "foreign":
                    return Flagged(AbortOutcome.UNKNOWN)
            # Somebody changed the row between our update and our look at it: look again, it is settled now.

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        rows = await self._fetch(sql.STATES, [chat.request_id for chat in chats])
        held = {ChatKey(request_id, generation): State(state) for request_id, generation, state in rows}
        return [held.get(chat.key) for chat in chats]

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        # Our own first: after a long pause they may have expired, and must not be swept with what is in them.
        rows = await self._fetch(sql.RECORD, *_columns(chats), self.options.ttl_s) if chats else []
        await self._fetch(sql.SWEEP)
        return {ChatKey(request_id, generation) for request_id, generation, state in rows if state == State.ABORTED}

    async def repeat(self, chats: Collection[Chat]) -> None:
        await self._fetch(sql.REPEAT, *_columns(chats), self.options.remember_s, self.notify)

    async def release(self, chat: Chat) -> None:
        await self._fetch(sql.RELEASE, chat.request_id, chat.generation, self.options.remember_s)

    @asynccontextmanager
    async def listen(self, worker: str) -> AsyncIterator[AsyncIterator[ChatKey]]:
        messages: asyncio.Queue[str | None] = asyncio.Queue()  # never longer than the live chats that it names
        with _translated():
            connection = await asyncpg.connect(
                self._url,
                timeout=self.options.command_timeout_s,
                command_timeout=self.options.keepalive_s / 2,
                server_settings={"application_name": f"{self.options.namespace}-listener"},
            )

        async def keys() -> AsyncIterator[ChatKey]:
            while True:
                try:
                    async with asyncio.timeout(self.options.keepalive_s / 2):  # wait_for would cost a task per message
                        message = await messages.get()
                except TimeoutError:  # silence: either nobody aborts, or the connection is half-open
                    with _translated():
                        await connection.execute("SELECT 1")
                    continue
                if message is None:
                    raise StoreUnavailableError("PostgreSQL closed the listener's connection")
                generation, request_id = message.split(" ", 1)
                yield ChatKey(request_id, generation)

        def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            messages.put_nowait(str(payload))

        try:
            connection.add_termination_listener(lambda _connection: messages.put_nowait(None))
            with _translated():
                await connection.add_listener(f"{self.options.namespace}_abort_{worker}", heard)
            yield keys()
        finally:
            connection.terminate()

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        statement = sql.in_schema(statement, self.options.namespace)
        with _translated():
            try:
                return await self._fetch_once(statement, arguments)
            except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError):
                # A pooled connection that the server closed is no outage, and every statement here is idempotent.
                return await self._fetch_once(statement, arguments)

    async def _fetch_once(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        started_s = time.monotonic()
        connection = await self._take()
        try:
            rows = list(await connection.fetch(statement, *arguments))
        except (TimeoutError, asyncio.CancelledError):
            # Half-open, perhaps, and then so are those of its age. asyncpg would wait on this connection for its
            # own cancellation, and the pool would hand out the others one after the other. The pool takes a connection
            # that has ended back by itself.
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
        if connection is not None and _is_open(connection):
            return connection
        self._waiting += 1
        try:
            async with asyncio.timeout(self.options.command_timeout_s):
                return await self._pool.acquire()
        finally:
            self._waiting -= 1

    async def _give_back(self, connection: Any) -> None:
        if not _is_open(connection):
            return
        if self._at_hand is None and not self._waiting:
            self._at_hand = connection
        else:
            await self._pool.release(connection, timeout=self.options.command_timeout_s)

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


def _columns(chats: Collection[Chat]) -> Iterator[tuple[str, ...]]:
    """In one order everywhere, so that two workers' statements cannot lock each other's rows crosswise."""
    return zip(*sorted(chats), strict=True)


async def _keep_session(_connection: object) -> None:
    """Our statements leave nothing behind in a session; asyncpg's own reset would cost a round trip for each."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        raise StoreUnavailableError(f"PostgreSQL: {error or type(error).__name__}") from error
    except asyncpg.PostgresError as error:
        # The rest is refused log-ins, missing databases, a full disk: the store is there and of no use.
        raise StoreUnavailableError(f"PostgreSQL: {error}") from error
