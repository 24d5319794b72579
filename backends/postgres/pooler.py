"""Find a pooler such as PgBouncer in front of the server, and refuse an address where LISTEN has no effect."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import asyncpg

from backends.errors import StoreRefusedError
from backends.postgres.connect import connect
from backends.postgres.url import Address

POOLER_NOTIFIES_WITHIN_S = 0.5
"""A session pooler forwards a notification within milliseconds."""


async def with_pooler_found(address: Address, application: str) -> Address:
    """The address, `pooled` if a pooler answers there. Raises what asyncpg raises."""
    async with _connected(address, application) as connection:
        return replace(address, pooled=await _is_pooled(connection))


async def check_notifications(listen: Address, commands: Address, application: str) -> None:
    """Raise `StoreRefusedError` if a listener at `listen` does not receive what `commands` notifies.

    A transaction pooler answers at `listen`, or it is another database. Raises also what asyncpg raises.
    """
    channel, notified = f"probe_{secrets.token_hex(8)}", asyncio.Event()
    async with _connected(listen, application) as listener:
        pooled = await _is_pooled(listener)
        await listener.add_listener(channel, lambda *_: notified.set())
        # Not on the listener's own connection: an idle pooler may run both on the same session of the server.
        async with _connected(commands, application) as notifier:
            await notifier.execute("SELECT pg_notify($1, '')", channel)
        with suppress(TimeoutError):
            async with asyncio.timeout(POOLER_NOTIFIES_WITHIN_S if pooled else listen.timeout_s):
                await notified.wait()
        await listener.execute("UNLISTEN *")  # else the pooler's session would go on listening
    if notified.is_set():
        return
    if pooled:
        reason = (
            "a transaction pooler answers there, and LISTEN does not work through it: add the server's own address to "
            "the backend URL, as its last option, ?listen=postgres://USER:PASSWORD@HOST:5432/DATABASE, "
            "or use postgres+timer://"
        )
    else:
        reason = f"LISTEN receives nothing from {commands.hosts}: the option listen must name the same database"
    raise StoreRefusedError(f"PostgreSQL at {listen.hosts}: {reason}")


async def _is_pooled(connection: asyncpg.Connection) -> bool:
    """Whether the process that connected is another one than the process that runs statements."""
    return bool(connection.get_server_pid() != await connection.fetchval("SELECT pg_backend_pid()"))


@asynccontextmanager
async def _connected(address: Address, application: str) -> AsyncIterator[Any]:
    """A connection that works through any pooler."""
    arguments = replace(address, pooled=True).arguments({}, application)
    connection = await connect(address, command_timeout=address.timeout_s, **arguments)
    try:
        yield connection
    finally:
        connection.terminate()
