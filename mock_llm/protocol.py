"""HTTP/1.1 over a raw asyncio protocol: parse, hand over, write; and stamp the moment the connection is lost."""

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
# A token that waits in our own buffer has not been written: stop soon after the kernel takes no more.
_HIGH_WATER = 16 << 10
# Closing with unread input makes the kernel reset the connection, and the client would lose our refusal.
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


class Pending(Protocol):
    """An answer that takes its time."""

    def resume(self) -> None:
        """Go on writing."""

    def lost(self, lost_ns: int) -> None:
        """Learn that the connection is gone."""


class Connection(asyncio.Protocol):
    """One keep-alive connection; answers one request at a time, in order.

    `handler(request, connection)` either calls `respond` or sets `answer` and calls `answered` in the end.
    It may raise ApiError.
    """

    def __init__(self, handler: "Handler", open_connections: "set[Connection]", max_body_bytes: int) -> None:
        self.answer: Pending | None = None
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

    # What an answer uses

    @property
    def held(self) -> bool:
        """Whether nothing may be written: the client does not read, or is gone and connection_lost is on its way."""
        return self._paused or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        self._transport.write(data)

    def respond(self, status: int, body: bytes, headers: tuple[str, ...] = ()) -> None:
        """Write a whole JSON answer and be done with this request."""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *headers]
        if status != HTTPStatus.NO_CONTENT:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        if not self._current.keep_alive:
            lines.append("connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._transport.write(head if self._current.method == "HEAD" else head + body)
        self.answered()

    def answered(self) -> None:
        """Go on with the next request, or close when the client wanted that."""
        self.answer = None
        self._busy = False
        if not self._current.keep_alive:
            self._transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def abort(self) -> None:
        """Drop the connection at once, unsent bytes included."""
        self._transport.abort()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the transport up for small, prompt writes."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- why it was lost does not matter
        """Stamp the loss, before anything else."""
        lost_ns = monotonic_ns()
        if self.answer is not None:
            self.answer.lost(lost_ns)
            self.answer = None
        if self._linger is not None:
            self._linger.cancel()
        self._waiting.clear()
        self._open.discard(self)

    def eof_received(self) -> None:
        """Take a half-closed connection as a client that left; one with nothing under way may get its last bytes."""
        if self.answer is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        """Hold the answer: the client does not read."""
        self._paused = True

    def resume_writing(self) -> None:
        """Let the answer go on."""
        self._paused = False
        if self.answer is not None:
            self.answer.resume()

    def data_received(self, data: bytes) -> None:
        """Parse; what cannot be parsed or is too large is refused."""
        self._received_ns = monotonic_ns()
        if self._linger is not None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as plain HTTP/1.1; on_message_complete has made it the connection's last request
        except httptools.HttpParserError as error:
            self._refusal = self._refusal or ApiError(400, f"This is not a valid HTTP request ({error}).")
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD:
                self._refuse_head()
        if self._refusal is not None and not self._transport.is_closing():
            self._refuse(self._refusal)

    # What the parser calls

    def on_message_begin(self) -> None:
        """Start a request."""
        self._incoming = Request()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._incoming.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Refuse a body that is announced too large before it is sent; tell a client that asks to go on."""
        self._head_bytes = -1
        headers = self._incoming.headers
        if sum(map(len, headers.values())) > _MAX_HEAD:
            self._refuse_head()
        elif int(headers.get("content-length", 0)) > self._max_body_bytes:
            self._refuse_body()
        elif headers.get("expect", "").lower() == "100-continue" and not self._busy:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if len(self._incoming.body) + len(body) > self._max_body_bytes:
            self._refuse_body()
        else:
            self._incoming.body += body

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for the one before."""
        request = self._incoming
        request.received_ns = self._received_ns
        request.method = self._parser.get_method().decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        request.http_1_0 = self._parser.get_http_version() == "1.0"
        self._waiting.append(request)
        if len(self._waiting) > _MAX_PIPELINED:
            self._refusal = ApiError(400, f"More than {_MAX_PIPELINED} requests were sent without reading the answers.")
        elif self._refusal is None:
            self._next()

    # Our own

    def _next(self) -> None:
        if self._busy or not self._waiting or self._transport.is_closing():
            return
        self._busy = True
        self._current = self._waiting.popleft()
        try:
            self._handler(self._current, self)
        except ApiError as error:
            self.respond(error.status, error.body(), error.headers)
        except Exception as error:  # a fault of ours must neither hang the client nor look like its own
            asyncio.get_running_loop().call_exception_handler({"message": "the mock failed", "exception": error})
            if self.answer is None:
                self.respond(500, ApiError(500, "The mock failed; see its stderr.", kind="server_error").body())
            else:
                self.abort()

    def _refuse_head(self) -> None:
        self._refusal = self._refusal or ApiError(431, f"The request's head is over {_MAX_HEAD} bytes.")

    def _refuse_body(self) -> None:
        message = f"The request's body is over {self._max_body_bytes} bytes (--max-body-bytes)."
        self._refusal = self._refusal or ApiError(413, message)

    def _refuse(self, error: ApiError) -> None:
        if self._busy:  # an error in the middle of another answer would be read as part of it
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
