"""Abort flags in PostgreSQL: one row per chat, one statement per change, LISTEN/NOTIFY on one channel per worker.

The table is UNLOGGED: a flag is worth nothing after a crash, because the streams it could stop are gone too, and
without write-ahead log an update costs half. The fillfactor leaves room for a row's new version on its page, and no
indexed column ever changes, so that updates are HOT (heap-only): they touch no index and are pruned in passing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import asyncpg

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

_SCHEMA_LOCK = 0x5706_7A7C  # any constant: workers that start at once make the schema one after the other
_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.chats_v1 (
    request_id text PRIMARY KEY,
    generation text NOT NULL,
    worker text NOT NULL,
    owner text NOT NULL,
    state text NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
"""
_RECORD = """
INSERT INTO {schema}.chats_v1 AS c (request_id, generation, owner, worker, state, expires_at)
SELECT *, 'live', now() + $5 * interval '1 second' FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
ON CONFLICT (request_id) DO UPDATE SET
    generation = EXCLUDED.generation, owner = EXCLUDED.owner, worker = EXCLUDED.worker,
    expires_at = EXCLUDED.expires_at,
    state = CASE WHEN c.expires_at > now() AND (
                c.generation = EXCLUDED.generation AND c.state IN ('aborted', 'repeated')
                OR c.state = 'early' AND c.owner = EXCLUDED.owner
            ) THEN 'aborted' ELSE 'live' END
WHERE c.expires_at <= now() OR CASE WHEN c.generation = EXCLUDED.generation THEN c.state <> 'ended'
                                    ELSE c.state NOT IN ('live', 'aborted') END
RETURNING request_id, generation, state
"""
_FLAG = """
WITH flagged AS (
    UPDATE {schema}.chats_v1 SET state = 'aborted'
    WHERE request_id = $1 AND owner = $2 AND state = 'live' AND expires_at > now()
    RETURNING generation, worker
), told AS (
    SELECT pg_notify('stopwatch_abort_' || worker, generation || ' ' || $1) FROM flagged WHERE $3
), found AS (
    SELECT CASE WHEN owner = $2 THEN state ELSE 'foreign' END AS state, generation, worker FROM {schema}.chats_v1
    WHERE request_id = $1 AND expires_at > now() AND NOT EXISTS (SELECT FROM flagged)
)
SELECT 'accepted' AS state, generation, worker, (SELECT count(*) FROM told) FROM flagged
UNION ALL SELECT state, generation, worker, 0 FROM found
"""
_REMEMBER = """
INSERT INTO {schema}.chats_v1 AS c (request_id, generation, worker, owner, state, expires_at)
VALUES ($1, '-', '-', $2, 'early', now() + $3 * interval '1 second')
ON CONFLICT (request_id) DO UPDATE SET
    generation = '-', worker = '-', owner = EXCLUDED.owner, state = 'early', expires_at = EXCLUDED.expires_at
WHERE c.expires_at <= now()
RETURNING state
"""
_STATES = "SELECT request_id, generation, state FROM {schema}.chats_v1 WHERE request_id = ANY($1)"
_REPEAT = """
WITH repeated AS (
    INSERT INTO {schema}.chats_v1 AS c (request_id, generation, owner, worker, state, expires_at)
    SELECT *, 'repeated', now() + $5 * interval '1 second' FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    ON CONFLICT (request_id) DO UPDATE SET
        generation = EXCLUDED.generation, owner = EXCLUDED.owner, worker = EXCLUDED.worker,
        state = CASE WHEN c.expires_at <= now() THEN 'repeated' WHEN c.state = 'live' THEN 'aborted' ELSE c.state END,
        expires_at = greatest(c.expires_at, EXCLUDED.expires_at)
    WHERE c.expires_at <= now() OR c.generation = EXCLUDED.generation AND c.state <> 'ended'
    RETURNING request_id, generation, worker
)
SELECT pg_notify('stopwatch_abort_' || worker, generation || ' ' || request_id) FROM repeated WHERE $6
"""
_RELEASE = """
UPDATE {schema}.chats_v1 SET state = 'ended', expires_at = now() + $3 * interval '1 second'
WHERE request_id = $1 AND generation = $2
"""
_SWEEP = "DELETE FROM {schema}.chats_v1 WHERE expires_at < now() - interval '1 second'"

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
        schema: str = "stopwatch",
        connections: int = 10,
    ) -> None:
        super().__init__(options, notify=notify)
        if not schema.isidentifier():
            raise BackendUrlError(f"not a schema name: {schema!r}")
        self._url = url
        self._schema = schema
        self._connections = connections
        self._pool: asyncpg.Pool
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
                server_settings={"synchronous_commit": "off", "application_name": "stopwatch-commands"},
            )
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
                await connection.execute(_SCHEMA.format(schema=self._schema))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.terminate()

    async def register(self, chat: Chat) -> bool:
        rows = await self._fetch(_RECORD, *_columns([chat]), self.options.ttl_s)
        if not rows:
            raise DuplicateChatError(chat.request_id)
        return bool(rows[0]["state"] == State.ABORTED)

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Flagged:
        while True:
            rows = await self._fetch(_FLAG, request_id, owner, self.notify)
            if not rows:
                if not remember:
                    return Flagged(AbortOutcome.UNKNOWN)
                if await self._fetch(_REMEMBER, request_id, owner, self.options.remember_s):
                    return Flagged(AbortOutcome.REMEMBERED)
                continue
            state, generation, worker, _ = rows[0]
            chat = Chat(request_id, generation, owner, worker)
            match state:
                case "accepted":
                    return Flagged(AbortOutcome.ACCEPTED, chat)
                case "aborted" | "repeated":
                    return Flagged(AbortOutcome.ALREADY_ABORTED, chat)
                case "early":
                    return Flagged(AbortOutcome.REMEMBERED)
                case "ended" | "foreign":
                    return Flagged(AbortOutcome.UNKNOWN)
            # Somebody changed the row between our update and our look at it: look again, it is settled now.

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        rows = await self._fetch(_STATES, [chat.request_id for chat in chats])
        held = {ChatKey(request_id, generation): State(state) for request_id, generation, state in rows}
        return [held.get(chat.key) for chat in chats]

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        await self._fetch(_SWEEP)
        if not chats:
            return set()
        rows = await self._fetch(_RECORD, *_columns(chats), self.options.ttl_s)
        return {ChatKey(request_id, generation) for request_id, generation, state in rows if state == State.ABORTED}

    async def repeat(self, chats: Collection[Chat]) -> None:
        await self._fetch(_REPEAT, *_columns(chats), self.options.remember_s, self.notify)

    async def release(self, chat: Chat) -> None:
        await self._fetch(_RELEASE, chat.request_id, chat.generation, self.options.remember_s)

    @asynccontextmanager
    async def listen(self, worker: str) -> AsyncIterator[AsyncIterator[ChatKey]]:
        messages: asyncio.Queue[str | None] = asyncio.Queue()  # never longer than the live chats that it names
        with _translated():
            connection = await asyncpg.connect(
                self._url,
                timeout=self.options.command_timeout_s,
                command_timeout=self.options.keepalive_s / 2,
                server_settings={"application_name": "stopwatch-listener"},
            )

        async def keys() -> AsyncIterator[ChatKey]:
            while True:
                try:
                    message = await asyncio.wait_for(messages.get(), self.options.keepalive_s / 2)
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
                await connection.add_listener(f"stopwatch_abort_{worker}", heard)
            yield keys()
        finally:
            connection.terminate()

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        statement = statement.format(schema=self._schema)
        with _translated():
            try:
                return await self._fetch_once(statement, arguments)
            except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError):
                # A pooled connection that the server closed is no outage, and every statement here is idempotent.
                return await self._fetch_once(statement, arguments)

    async def _fetch_once(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        started_s = time.monotonic()
        async with self._pool.acquire(timeout=self.options.command_timeout_s) as connection:
            try:
                return list(await connection.fetch(statement, *arguments))
            except (TimeoutError, asyncio.CancelledError):
                # Half-open, perhaps, and then so are those of its age. asyncpg would wait on this connection for its
                # own cancellation, and the pool would hand out the others one after the other.
                for old, opened_s in tuple(self._opened.items()):
                    if opened_s <= started_s:
                        old.terminate()
                raise

    async def _connect(self, *arguments: Any, **options: Any) -> asyncpg.Connection:
        connection = await asyncpg.connect(*arguments, **options)
        self._opened[connection] = time.monotonic()
        return connection


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
