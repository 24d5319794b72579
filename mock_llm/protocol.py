"""HTTP/1.1 over an asyncio protocol, with a timestamp when the connection is lost."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic_ns
from typing import Protocol, cast

import httptools

from mock_llm.chat import ApiError

_MAX_HEAD = 64 << 10
_MAX_PIPELINED = 16
# A token in our own buffer has not been sent: pause soon after the kernel's buffer is full.
_HIGH_WATER = 16 << 10
# Closing with unread input makes the kernel reset the connection, and the client would lose the error response.
_LINGER_S = 2.0


@dataclass(slots=True)
class Request:
    """One parsed request; header names are lower case, `received_ns` is when its last byte was read."""

    method: str = ""
    target: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    received_ns: int = 0
    keep_alive: bool = True
    http_1_0: bool = False


class PendingResponse(Protocol):
    """A response in progress."""

    def resume(self) -> None:
        """Continue writing."""

    def on_lost(self, lost_ns: int) -> None:
        """Called when the connection is lost."""


class Connection(asyncio.Protocol):
    """One keep-alive connection; responds to one request at a time, in order.

    `handler(request, connection)` either calls `respond`, or sets `response` and calls `finish` at its end. It may
    raise ApiError.
    """

    def __init__(self, handler: "Handler", open_connections: "set[Connection]", max_body_bytes: int) -> None:
        self.response: PendingResponse | None = None
        self._paused = False
        self._handler = handler
        self._open = open_connections
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._incoming = Request()
        self._current = Request()
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._head_bytes = 0  # -1: the head is complete
        self._refusal: ApiError | None = None
        self._linger: asyncio.TimerHandle | None = None

    # Used by responses

    @property
    def blocked(self) -> bool:
        """Whether writing must wait: the client is not reading, or the connection is closing."""
        return self._paused or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write bytes to the transport."""
        self._transport.write(data)

    def respond(self, status: int, body: bytes, headers: tuple[str, ...] = ()) -> None:
        """Write a complete JSON response and finish this request."""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *headers]
        if status != HTTPStatus.NO_CONTENT:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        if not self._current.keep_alive:
            lines.append("connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._transport.write(head if self._current.method == "HEAD" else head + body)
        self.finish()

    def finish(self) -> None:
        """Continue with the next request, or close the connection if the client asked for it."""
        self.response = None
        self._busy = False
        if not self._current.keep_alive:
            self._transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def abort(self) -> None:
        """Abort the connection and discard unsent bytes."""
        self._transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Configure the transport for small writes without delay."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the cause does not matter
        """Take the time of the loss first."""
        lost_ns = monotonic_ns()
        if self.response is not None:
            self.response.on_lost(lost_ns)
            self.response = None
        if self._linger is not None:
            self._linger.cancel()
        self._waiting.clear()
        self._open.discard(self)

    def eof_received(self) -> None:
        """Treat a half-closed connection as a disconnect if a response is in progress."""
        if self.response is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        """Pause the response: the client is not reading."""
        self._paused = True

    def resume_writing(self) -> None:
        """Continue the response."""
        self._paused = False
        if self.response is not None:
            self.response.resume()

    def data_received(self, data: bytes) -> None:
        """Parse; reject invalid or too large requests."""
        self._received_ns = monotonic_ns()
        if self._linger is not None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # served as HTTP/1.1; on_message_complete has made it the last request of the connection
        except httptools.HttpParserError as error:
            self._refusal = self._refusal or ApiError(400, f"This is not a valid HTTP request ({error}).")
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD:
                self._refuse_head()
        if self._refusal is not None and not self._transport.is_closing():
            self._refuse(self._refusal)

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._incoming = Request()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Append to the target."""
        self._incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        self._incoming.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Reject a body that is announced as too large; answer `expect: 100-continue`."""
        self._head_bytes = -1
        headers = self._incoming.headers
        if sum(map(len, headers.values())) > _MAX_HEAD:
            self._refuse_head()
        elif int(headers.get("content-length", 0)) > self._max_body_bytes:
            self._refuse_body()
        elif headers.get("expect", "").lower() == "100-continue" and not self._busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Append to the body."""
        if len(self._incoming.body) + len(body) > self._max_body_bytes:
            self._refuse_body()
        else:
            self._incoming.body += body

    def on_message_complete(self) -> None:
        """Respond to the request, or queue it behind the previous one."""
        request = self._incoming
        request.received_ns = self._received_ns
        request.method = self._parser.get_method().decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        request.http_1_0 = self._parser.get_http_version() == "1.0"
        self._waiting.append(request)
        if len(self._waiting) > _MAX_PIPELINED:
            self._refusal = ApiError(
                400, f"More than {_MAX_PIPELINED} requests were sent without reading the responses."
            )
        elif self._refusal is None:
            self._next()

    # Private

    def _next(self) -> None:
        if self._busy or not self._waiting or self._transport.is_closing():
            return
        self._busy = True
        self._current = self._waiting.popleft()
        try:
            self._handler(self._current, self)
        except ApiError as error:
            self.respond(error.status, error.body(), error.headers)
        except Exception as error:  # a bug in the mock must not hang the client or look like a client error
            asyncio.get_running_loop().call_exception_handler(
                {"message": "unexpected error in the mock", "exception": error}
            )
            if self.response is None:
                self.respond(
                    500, ApiError(500, "Unexpected error in the mock; see its stderr.", kind="server_error").body()
                )
            else:
                self.abort()

    def _refuse_head(self) -> None:
        self._refusal = self._refusal or ApiError(431, f"The request's head is over {_MAX_HEAD} bytes.")

    def _refuse_body(self) -> None:
        message = f"The request's body is over {self._max_body_bytes} bytes (--max-body-bytes)."
        self._refusal = self._refusal or ApiError(413, message)

    def _refuse(self, error: ApiError) -> None:
        if self._busy:  # an error in the middle of another response would be read as part of it
            self._transport.abort()
            return
        self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)
        self._busy = True
        body = error.body()
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._transport.write_eof()


Handler = Callable[[Request, Connection], None]
