"""Connections to the upstream: made early, used when that is allowed, kept for others when it is not, cut at once."""

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


class Line:
    """One request's way to the upstream: connected at once, used from `allow` on, gone with `cut`."""

    def __init__(self) -> None:
        self.allowed_s: float | None = None
        """When the request might go out (monotonic seconds); None before."""
        self._allowed = asyncio.Event()
        self._connection: Connection | None = None

    def allow(self) -> None:
        """Let the request go out."""
        self.allowed_s = monotonic()
        self._allowed.set()

    async def allowed(self) -> None:
        """Return when the request may go out."""
        await self._allowed.wait()

    def hold(self, connection: Connection) -> None:
        """Be on this connection from now on."""
        self._connection = connection

    def cut(self) -> None:
        """End the connection before anything else happens; does nothing when it has been given back."""
        transport = self._connection.transport if self._connection is not None else None
        if transport is None or transport.is_closing():
            return
        # `abort` closes in a later turn of the loop, and by way of all that hear of it: the upstream is told here.
        end = transport.get_extra_info("socket")
        with suppress(OSError), socket.socket(end.family, end.type, end.proto, os.dup(end.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
        transport.abort()


_line: ContextVar[Line | None] = ContextVar("line", default=None)
_patient: WeakSet[AsyncOpenAI] = WeakSet()  # clients whose connections know of lines


class _Connector(aiohttp.TCPConnector):
    """Hands a connection out only when the line that asks for it is allowed; nothing is written to it before."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        line = _line.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            if line is None:
                return connection
            try:
                await line.allowed()
            except BaseException:
                connection.release()  # unused: the next request may have it
                raise
            if not connection.closed:
                line.hold(connection)
                return connection
            connection.close()  # the upstream hung up meanwhile: another one, and no waiting this time


def make_patient(client: AsyncOpenAI, http: httpx2.AsyncClient) -> None:
    """Have the connections of `client`, which `http` makes, know of lines; if `http` is openai's, as we know it."""
    transports = {http._transport, *http._mounts.values()} - {None}  # the mounts are the environment's proxies
    if all(hasattr(transport, "get_client") for transport in transports):
        for transport in transports:
            transport.client = partial(_session, transport)  # type: ignore[union-attr]  # the class is openai's own
        _patient.add(client)


def _session(transport: Any) -> aiohttp.ClientSession:
    """What openai's transport makes for itself, with our connector."""
    limits = transport.limits
    connector = _Connector(
        limit=limits.max_connections, keepalive_timeout=limits.keepalive_expiry, ssl=transport.ssl_context
    )
    return aiohttp.ClientSession(connector=connector)


@asynccontextmanager
async def on(line: Line, client: AsyncOpenAI) -> AsyncIterator[None]:
    """What is asked of this client in the block goes over the line."""
    if client not in _patient:
        await line.allowed()
    token = _line.set(line)
    try:
        yield
    finally:
        _line.reset(token)
