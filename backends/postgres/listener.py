"""The PostgreSQL store's connection for LISTEN, outside the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from time import monotonic

import asyncpg

from backends.base import ChatKey, MessageHandler, Options, WaitForLoss
from backends.errors import StoreUnavailableError
from backends.postgres.connect import connect
from backends.postgres.url import Address


@asynccontextmanager
async def listening(
    address: Address,
    options: Options,
    worker: str,
    on_message: MessageHandler,
    translated: Callable[[], AbstractContextManager[None]],
) -> AsyncIterator[tuple[asyncpg.Connection, WaitForLoss]]:
    """Subscribe to the worker's channel and to that of all workers; see `Store.listen`.

    `translated` maps the driver's errors to ours. A connection that was silent for `silence_s` is pinged, because it
    may be half-open.
    """
    with translated():
        connection = await connect(
            address,
            command_timeout=options.keepalive_s - options.silence_s,
            **address.arguments({}, f"{options.namespace}-listener"),
        )
    lost = asyncio.Event()
    received_s = monotonic()

    def on_notification(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        nonlocal received_s
        received_s = monotonic()
        on_message(ChatKey.of(str(payload)))

    async def wait_for_loss() -> None:
        nonlocal received_s
        while not lost.is_set():
            left_s = received_s + options.silence_s - monotonic()
            if left_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await lost.wait()
                continue
            with translated():
                await connection.execute("SELECT 1")
            received_s = monotonic()
        raise StoreUnavailableError("PostgreSQL closed the listener's connection")

    try:
        connection.add_termination_listener(lambda _connection: lost.set())
        with translated():
            for name in (worker, "all"):
                await connection.add_listener(f"{options.namespace}_abort_{name}", on_notification)
        yield connection, wait_for_loss
    finally:
        connection.terminate()
