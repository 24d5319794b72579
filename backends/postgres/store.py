"""Abort flags in PostgreSQL: one row per chat, one statement per change, LISTEN/NOTIFY on one channel per worker."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self

import asyncpg

from backends.base import (
    HEARTBEAT,
    SEEK,
    AbortOutcome,
    Chat,
    ChatKey,
    FlagResult,
    MessageHandler,
    Options,
    State,
    Store,
    WaitForLoss,
)
from backends.errors import BackendUrlError, DuplicateChatError, StoreRefusedError
from backends.postgres import sql
from backends.postgres.errors import LOST, RETRIED, URL_ERRORS, is_refusal, is_url_error, unavailable
from backends.postgres.listener import listening
from backends.postgres.pool import Pool
from backends.postgres.pooler import check_notifications, with_pooler_found
from backends.postgres.url import Address, parse_addresses
from backends.refusals import LOG, RefusalLog, check_rights

_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,29}")  # a channel's name must fit PostgreSQL's limit of 63 bytes


class PostgresStore(Store):
    """Statements use a pool and hold a connection only while they run; the listener has a connection of its own.

    LISTEN does not work through a transaction-pooling PgBouncer: `?listen=` gives the listener an address of its own.
    """

    name: ClassVar[str] = "postgres"
    deaf_hint: ClassVar[str] = (
        "LISTEN does not work through a transaction pooler, or in another database: give the server's own address in "
        "the option listen, connect through a session pooler, or use postgres+timer://"
    )

    def __init__(self, url: str, options: Options, *, notify: bool, connections: int = 10) -> None:
        super().__init__(options, notify=notify)
        if not _SCHEMA_NAME.fullmatch(options.namespace):
            raise BackendUrlError(
                f"the namespace {options.namespace!r} is not a valid schema name: use a-z, 0-9, _ (30 at most)"
            )
        self._address, self._listen_address = parse_addresses(url, options.command_timeout_s)
        self._pool = Pool(options, connections, self._drop_listeners)
        self._listeners: set[asyncpg.Connection] = set()
        self._refusals = RefusalLog()

    async def __aenter__(self) -> Self:
        await self._connect()
        try:
            with self._translated():
                if not (await self._pool.fetch(sql.in_schema(sql.EXISTS, self.options.namespace), ()))[0][0]:
                    await self._create_schema()
            await check_rights(self)
        except BaseException:
            self._pool.terminate()
            raise
        for address in filter(None, (self._address, self._listen_address)):
            for warning in address.warnings:
                LOG.warning("%s", warning)
        self._refusals.started = True
        return self

    async def _connect(self) -> None:
        """Find out whether a pooler answers, and open the pool."""
        application = f"{self.options.namespace}-check"
        with self._opening(self._address):
            self._address = await with_pooler_found(self._address, application)
        if self.notify and (self._address.pooled or self._listen_address is not None):
            listen = self._listen_address or self._address
            with self._opening(listen):
                await check_notifications(listen, self._address, application)
        with self._opening(self._address):
            await self._pool.open(self._address)

    async def _create_schema(self) -> None:
        """Create the table, and delete expired rows of earlier workers."""
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

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> FlagResult:
        unknown = FlagResult(AbortOutcome.REMEMBERED if remember else AbortOutcome.UNKNOWN)
        while True:
            if rows := await self._fetch(sql.FLAG, request_id, owner, self.notify):
                generation, worker, _ = rows[0]
                return FlagResult(AbortOutcome.ACCEPTED, Chat(request_id, generation, owner, worker))
            rows = await self._fetch(sql.FOUND, request_id, owner)
            if not rows:
                if not remember or await self._fetch(sql.REMEMBER, request_id, owner, self.options.remember_s):
                    return unknown
                continue
            state, generation, worker = rows[0]
            match state:
                case "aborted" | "repeated":
                    return FlagResult(AbortOutcome.ALREADY_ABORTED, Chat(request_id, generation, owner, worker))
                case "early":
                    if not remember or await self._fetch(sql.REMEMBER, request_id, owner, self.options.remember_s):
                        return FlagResult(AbortOutcome.REMEMBERED)
                case "foreign":
                    return unknown
                case "ended":
                    return FlagResult(AbortOutcome.UNKNOWN)
            # The row changed between the UPDATE and the SELECT: try again.

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        rows = await self._fetch(sql.STATES, [chat.request_id for chat in chats])
        held = {ChatKey(request_id, generation): State(state) for request_id, generation, state in rows}
        return [held.get(chat.key) for chat in chats]

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        # Before the sweep: after a long pause our own rows may have expired, and the sweep would delete their flags.
        rows = await self._fetch(sql.RECORD, *_columns(chats), self.options.ttl_s) if chats else []
        await self._fetch(sql.SWEEP)
        live = {ChatKey(request_id, generation) for request_id, generation, state in rows if state != State.ABORTED}
        return {chat.key for chat in chats} - live  # a row left unchanged has ended, or is another chat's

    async def reassert(self, chats: Collection[Chat]) -> set[ChatKey]:
        rows = await self._fetch(sql.REASSERT, *_columns(chats), self.options.remember_s, self.notify) if chats else []
        return {ChatKey(request_id, generation) for request_id, generation, _ in rows}

    async def release(self, chat: Chat) -> bool:
        rows = await self._fetch(sql.RELEASE, chat.request_id, chat.generation, self.options.remember_s)
        return bool(rows and rows[0][0])

    async def heartbeat(self, worker: str, number: int) -> bool:
        message, ttl_s = f"{HEARTBEAT} {number}", self.options.heartbeat_ttl_s
        ((held, _),) = await self._fetch(sql.HEARTBEAT, _heartbeat_id(worker), worker, ttl_s, message, self.notify)
        return bool(held)

    async def seek(self, worker: str, request_id: str) -> bool:
        ((held, _),) = await self._fetch(sql.SEEK, _heartbeat_id(worker), f"{SEEK} {request_id}", self.notify)
        return bool(held)

    @asynccontextmanager
    async def listen(self, worker: str, on_message: MessageHandler) -> AsyncIterator[WaitForLoss]:
        address = self._listen_address or self._address
        translated = partial(self._translated, address)
        async with listening(address, self.options, worker, on_message, translated) as opened:
            connection, wait_for_loss = opened
            self._listeners.add(connection)
            try:
                yield wait_for_loss
            finally:
                self._listeners.discard(connection)

    def _drop_listeners(self) -> None:
        """Close every listener: aborts may be notified on another server than the one that refuses statements."""
        for connection in tuple(self._listeners):
            connection.terminate()

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        statement = sql.in_schema(statement, self.options.namespace)
        with self._translated():
            try:
                return await self._pool.fetch(statement, arguments)
            except RETRIED:
                pass  # one pooled connection was closed by the server; every statement is idempotent
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
                await self._create_schema()  # the database was re-created since the start
            except asyncpg.PostgresError as error:
                if not is_refusal(error):
                    raise  # else the pool has closed its connections: dial again
            return await self._pool.fetch(statement, arguments)

    @contextmanager
    def _opening(self, address: Address) -> Iterator[None]:
        """Translate the driver's errors; those about a parameter are errors of the URL."""
        with self._translated(address):
            try:
                yield
            except URL_ERRORS as error:
                if not is_url_error(error):
                    raise
                reason = " ".join(str(error).split())
                raise BackendUrlError(f"PostgreSQL at {address.hosts}: {reason}; correct the backend URL") from None

    @contextmanager
    def _translated(self, address: Address | None = None) -> Iterator[None]:
        try:
            yield
        except LOST as error:
            translated = unavailable(error, (address or self._address).hosts, self.options.namespace)
            if isinstance(translated, StoreRefusedError):
                self._refusals.warn(str(translated))
            raise translated from error


def _heartbeat_id(worker: str) -> str:
    """Differs from the id of any chat: those are printable."""
    return f"\x01{worker}"


def _columns(chats: Collection[Chat]) -> Iterator[tuple[str, ...]]:
    """Sorted, so that the statements of two workers lock rows in the same order and cannot deadlock."""
    return zip(*sorted(chats), strict=True)
