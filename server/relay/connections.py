"""Upstream connections that open before their request may be sent, and that can be aborted at once."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import Any
from weakref import WeakSet

import aiohttp
import httpx2
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from openai import AsyncOpenAI


class DeferredConnection:
    """One request's connection to the upstream: opened at once, written to after `release`, ended by `abort`."""

    def __init__(self) -> None:
        self.released_s: float | None = None
        """When the request was released (monotonic seconds); None before."""
        self._released = asyncio.Event()
        self._connection: Connection | None = None
        self._aborted: asyncio.Transport | None = None

    def release(self) -> None:
        """Allow the request to be sent."""
        self.released_s = monotonic()
        self._released.set()

    async def wait_released(self) -> None:
        """Return when the request may be sent."""
        await self._released.wait()

    def attach(self, connection: Connection) -> None:
        """Use this connection from now on; count it until the request is over."""
        self._connection = connection
        _open.add(connection)
        connection.add_callback(partial(_open.discard, connection))  # called when it is closed or back in the pool

    def abort(self) -> None:
        """End the connection before anything else runs; does nothing after it has returned to the pool.

        Its reader waits until `close`, or until it is cancelled.
        """
        protocol = self._connection.protocol if self._connection is not None else None
        if protocol is None or (transport := protocol.transport) is None or transport.is_closing():
            return
        self._aborted = transport
        protocol.force_close()  # it must not return to the pool
        with suppress(RuntimeError):  # paused already
            transport.pause_reading()
        # `transport.abort` closes in a later iteration of the loop. Shutting a duplicate of the socket down sends the
        # FIN now.
        end = transport.get_extra_info("socket")
        with suppress(OSError), socket.socket(end.family, end.type, end.proto, os.dup(end.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free what an aborted connection holds."""
        if self._aborted is not None:
            self._aborted.abort()
            self._aborted = None  # its context refers to this


_current: ContextVar[DeferredConnection | None] = ContextVar("deferred_connection", default=None)
_open: WeakSet[Connection] = WeakSet()  # attached, and neither closed nor returned to the pool
_prepared_clients: WeakSet[AsyncOpenAI] = WeakSet()  # clients whose connector is a _DeferringConnector


class _DeferringConnector(aiohttp.TCPConnector):
    """Connects at once, and returns the connection to the request when its DeferredConnection is released."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        deferred = _current.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            if deferred is None:
                return connection
            try:
                await deferred.wait_released()
            except BaseException:
                connection.release()  # unused: the next request may have it
                raise
            if not connection.closed:
                deferred.attach(connection)
                return connection
            connection.close()  # the upstream closed it meanwhile: connect again, released this time


def open_connections() -> int:
    """Number of this process's connections that carry a chat's request; idle ones in the pool do not count."""
    return len(_open)


def install_connector(client: AsyncOpenAI, http: httpx2.AsyncClient) -> None:
    """Make `client`, whose HTTP client is `http`, use deferred connections, if `http` is of the expected openai class.

    Otherwise `using` delays the whole request, connecting included, until its release.
    """
    transports = {http._transport, *http._mounts.values()} - {None}  # the mounts are the environment's proxies
    if all(hasattr(transport, "get_client") for transport in transports):
        for transport in transports:
            transport.client = partial(_session, transport)  # type: ignore[union-attr]  # the class is openai's own
        _prepared_clients.add(client)


def _session(transport: Any) -> aiohttp.ClientSession:
    """Create the session that openai's transport would create, with our connector."""
    limits = transport.limits
    connector = _DeferringConnector(
        limit=limits.max_connections, keepalive_timeout=limits.keepalive_expiry, ssl=transport.ssl_context
    )
    return aiohttp.ClientSession(connector=connector)


@asynccontextmanager
async def using(connection: DeferredConnection, client: AsyncOpenAI) -> AsyncIterator[None]:
    """Send the requests that `client` makes in the block over `connection`."""
    if client not in _prepared_clients:
        await connection.wait_released()
    token = _current.set(connection)
    try:
        yield
    finally:
        _current.reset(token)
