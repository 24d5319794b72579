"""Abort flags in PostgreSQL: one row per chat, one statement per change, LISTEN/NOTIFY on one channel per worker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, Self

import asyncpg

from backends import postgres_sql as sql
from backends.base import (
    BEAT,
    SEEK,
    AbortOutcome,
    BackendUrlError,
    Chat,
    ChatKey,
    DuplicateChatError,
    Flagged,
    Heard,
    Options,
    State,
    Store,
    StoreRefusedError,
    StoreUnavailableError,
    Watch,
)
from backends.postgres_errors import LOST, RETRIED, URL_ERRORS, is_refusal, unavailable
from backends.postgres_pool import Pool
from backends.postgres_url import address
from backends.refusals import LOG, RefusalLog, exercise

_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,29}")  # with the rest of a channel's name within PostgreSQL's 63 bytes


class PostgresStore(Store):
    """Statements go through a pool and hold a connection for their own time only; the listener has its own connection.

    LISTEN does not work through a transaction-pooling PgBouncer.
    """

    name: ClassVar[str] = "postgres"
    deaf_hint: ClassVar[str] = (
        "LISTEN does not work through a transaction pooler: connect to the server itself or through a session pooler, "
        "or use postgres+timer://"
    )

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
        self._address = address(url, options.command_timeout_s)
        self._pool = Pool(self._address, options, connections, self._drop_listeners)
        self._listeners: set[asyncpg.Connection] = set()
        self._refusals = RefusalLog()

    async def __aenter__(self) -> Self:
        with self._translated():
            try:
                await self._pool.open()
            except URL_ERRORS as error:
                words = " ".join(str(error).split())
                raise BackendUrlError(
                    f"PostgreSQL at {self._address.where}: {words}; correct the backend URL"
                ) from None
        try:
            with self._translated():
                if not (await self._pool.fetch(sql.in_schema(sql.EXISTS, self.options.namespace), ()))[0][0]:
                    await self._make_schema()
            await exercise(self)
        except BaseException:
            self._pool.terminate()
            raise
        for note in self._address.notes:
            LOG.warning("%s", note)
        self._refusals.started = True
        return self

    async def _make_schema(self) -> None:
        """The table is there; what a worker that is gone has left in it too long ago is not."""
        async with self._pool.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", sql.SCHEMA_LOCK)
            await connection.execute(sql.SCHEMA.format(schema=self.options.namespace))
            await connection.execute(sql.in_schema(sql.SWEEP, self.options.namespace))

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
        unknown = Flagged(AbortOutcome.REMEMBERED if remember else AbortOutcome.UNKNOWN)
        while True:
            if rows := await self._fetch(sql.FLAG, request_id, owner, self.notify):
                generation, worker, _ = rows[0]
                return Flagged(AbortOutcome.ACCEPTED, Chat(request_id, generation, owner, worker))
            rows = await self._fetch(sql.FOUND, request_id, owner)
            if not rows:
                if not remember or await self._fetch(sql.REMEMBER, request_id, owner, self.options.remember_s):
                    return unknown
                continue
            state, generation, worker = rows[0]
            match state:
                case "aborted" | "repeated":
                    return Flagged(AbortOutcome.ALREADY_ABORTED, Chat(request_id, generation, owner, worker))
                case "early":
                    if not remember or await self._fetch(sql.REMEMBER, request_id, owner, self.options.remember_s):
                        return Flagged(AbortOutcome.REMEMBERED)
                case "foreign":
                    return unknown
                case "ended":
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
        live = {ChatKey(request_id, generation) for request_id, generation, state in rows if state != State.ABORTED}
        return {chat.key for chat in chats} - live  # what was left alone has ended, or another chat has its id

    async def repeat(self, chats: Collection[Chat]) -> set[ChatKey]:
        rows = await self._fetch(sql.REPEAT, *_columns(chats), self.options.remember_s, self.notify) if chats else []
        return {ChatKey(request_id, generation) for request_id, generation, _ in rows}

    async def release(self, chat: Chat) -> None:
        await self._fetch(sql.RELEASE, chat.request_id, chat.generation, self.options.remember_s)

    async def beat(self, worker: str, number: int) -> bool:
        ((held, _),) = await self._fetch(
            sql.BEAT, _beat_id(worker), worker, self.options.heartbeat_ttl_s, f"{BEAT} {number}", self.notify
        )
        return bool(held)

    async def seek(self, worker: str, request_id: str) -> bool:
        ((held, _),) = await self._fetch(sql.SEEK, _beat_id(worker), f"{SEEK} {request_id}", self.notify)
        return bool(held)

    @asynccontextmanager
    async def listen(self, worker: str, heard: Heard) -> AsyncIterator[Watch]:
        lost = asyncio.Event()
        heard_s = monotonic()
        with self._translated():
            connection = await asyncpg.connect(
                command_timeout=self.options.keepalive_s - self.options.silence_s,
                **self._address.arguments({}, f"{self.options.namespace}-listener"),
            )
        self._listeners.add(connection)

        def took(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            nonlocal heard_s
            heard_s = monotonic()
            heard(ChatKey.of(str(payload)))

        async def until_lost() -> None:
            nonlocal heard_s
            while not lost.is_set():
                left_s = heard_s + self.options.silence_s - monotonic()
                if left_s > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(left_s):
                            await lost.wait()
                    continue
                with self._translated():  # it may be half-open
                    await connection.execute("SELECT 1")
                heard_s = monotonic()
            raise StoreUnavailableError("PostgreSQL closed the listener's connection")

        try:
            connection.add_termination_listener(lambda _connection: lost.set())
            with self._translated():
                for whom in (worker, "all"):
                    await connection.add_listener(f"{self.options.namespace}_abort_{whom}", took)
            yield until_lost
        finally:
            self._listeners.discard(connection)
            connection.terminate()

    def _drop_listeners(self) -> None:
        """End every listener: a server that refuses statements may not be the one where aborts are notified."""
        for connection in tuple(self._listeners):
            connection.terminate()

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        statement = sql.in_schema(statement, self.options.namespace)
        with self._translated():
            try:
                return await self._pool.fetch(statement, arguments)
            except RETRIED:
                # A pooled connection that the server closed is no outage, and every statement here is idempotent.
                return await self._pool.fetch(statement, arguments)
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
                await self._make_schema()  # the database was made anew behind our back
                return await self._pool.fetch(statement, arguments)
            except asyncpg.PostgresError as error:
                if not is_refusal(error):
                    raise
                return await self._pool.fetch(statement, arguments)  # its connections are closed: dial again

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except LOST as error:
            ours = unavailable(error, self._address.where, self.options.namespace)
            if isinstance(ours, StoreRefusedError):
                self._refusals.warn(str(ours))
            raise ours from error


def _beat_id(worker: str) -> str:
    """Not the id of any chat: those are printable."""
    return f"\x01{worker}"


def _columns(chats: Collection[Chat]) -> Iterator[tuple[str, ...]]:
    """In one order everywhere, so that two workers' statements cannot lock each other's rows crosswise."""
    return zip(*sorted(chats), strict=True)
