"""Lingering close: an early refusal reaches a client that is still sending its request.

Closing a connection with unread bytes resets it, and a reset can destroy the refusal before the client has read it (RFC
9112, section 9.6). So the connection is closed for writing only, while received bytes are dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

from server.http.request_guard import REQUEST_COMPLETE

LINGER_S = 5.0
"""How long a connection stays open for reading after an early refusal."""


class LingeringClose:
    """Closes one connection for writing at `start`, and completely when the client closes it or after LINGER_S."""

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow
        self.active = False
        """Whether received bytes are to be dropped."""

    def start(self) -> None:
        """Start the close; does nothing if the connection is closing already."""
        if self._transport.is_closing() or self.active:
            return
        self.active = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._flow.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)


class LingeringTransport:
    """The part of a transport that a request's cycle uses; `close` lingers if the request is still arriving."""

    __slots__ = ("_linger", "_scope", "_transport", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], None], scope: Mapping[str, Any]) -> None:
        self._transport = transport
        self._linger = linger
        self._scope = scope
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """Close the connection, or linger while the rest of the request arrives."""
        if REQUEST_COMPLETE in self._scope:
            self._transport.close()
        else:
            self._linger()
