"""uvicorn's HTTP protocol with limits: on a request head while it arrives, and on every open request's duration.

A client that does not read would otherwise hold its chat, and the paid upstream, for ever; so would one that does not
complete its request. Both are disconnected.

A client may send further requests before the first is answered (pipelining). uvicorn then stops reading, which hides
the client's disconnect, and reports a disconnect to the last request only; here reading continues, within a limit.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from server.http.errors import error_response
from server.http.hosts import TARGET_HOST
from server.http.lingering import LingeringClose, LingeringTransport
from server.http.request_guard import ABORT_CONNECTION, REQUEST_COMPLETE

MAX_HEAD_BYTES = 64 * 1024
"""Limit on a request line and headers while they arrive; complete ones: request_guard.MAX_HEADER_BYTES."""
WRITE_STALL_S = 60.0
"""A client that has not read waiting bytes for so long without a break is disconnected."""
DEADLINE_S = "request_deadline_s"
"""Key in the lifespan's state: how long a request's head may take."""
_COMPLETE = -1


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 and closes when an incomplete head exceeds MAX_HEAD_BYTES, 408 when it takes too long.

    Further requests behind an unanswered one may have as many bytes; then the connection is aborted.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
        self._in_body = False
        self._is_mixed_read = False  # the current read also holds bytes before the current head
        self._unfinished: list[RequestResponseCycle] = []  # requests that were unanswered when the next one came
        self._pipelined_bytes = 0
        self._write_stall: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._lingering: LingeringClose

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        """Start the first request's deadline."""
        super().connection_made(transport)
        self._lingering = LingeringClose(transport, self.flow)
        self._set_deadline()

    def on_message_begin(self) -> None:
        """Start counting the bytes of the head."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting, and remember the unanswered request before this one."""
        self._head_bytes = _COMPLETE
        self._in_body = self._is_mixed_read = True
        if self._is_answering:
            self._unfinished.append(self.cycle)
        self.scope[ABORT_CONNECTION] = self._abort_connection  # type: ignore[literal-required]  # besides ASGI's keys
        if not self.url.startswith(b"/") and (host := httptools.parse_url(self.url).host):
            self.scope[TARGET_HOST] = host  # type: ignore[literal-required]
        super().on_headers_complete()
        transport = LingeringTransport(self.transport, self._linger, self.scope)
        self.cycle.transport = transport  # type: ignore[assignment]  # it has what a cycle uses

    def on_message_complete(self) -> None:
        """Mark the request as complete."""
        self._in_body = False
        self.scope[REQUEST_COMPLETE] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse a head that is too long."""
        if self._lingering.active:
            return
        self._is_mixed_read = self._in_body
        super().data_received(data)
        if self._unfinished:
            self._keep_reading(len(data))
        if not self._is_answering:  # part of a head, or the rest of a refused body
            self._set_deadline()
        elif self._deadline is not None:
            self._cancel_deadline()
        if self._head_bytes == _COMPLETE:
            return
        self._head_bytes += 1 if self._is_mixed_read else len(data)  # how much of a mixed read is the head is unknown
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"The request line and headers are larger than {MAX_HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with our error shape; uvicorn's own answer could end up inside another response."""
        self._refuse(400, msg)

    def pause_writing(self) -> None:
        """Give a client that reads too slowly WRITE_STALL_S to catch up."""
        super().pause_writing()
        self._write_stall = self.loop.call_later(WRITE_STALL_S, self._abort_connection, 0.0)

    def resume_writing(self) -> None:
        """Cancel that timer: the client has caught up."""
        super().resume_writing()
        self._cancel_write_stall()

    def _cancel_write_stall(self) -> None:
        if self._write_stall is not None:
            self._write_stall.cancel()
            self._write_stall = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the disconnect to every open request, not to the last one only."""
        self._cancel_write_stall()
        self._cancel_deadline()
        self._mark_disconnected()
        super().connection_lost(exc)
        self.cycle = self.scope = None  # type: ignore[assignment]  # they refer to this: cycles would wait for a collection

    def _set_deadline(self) -> None:
        """Close the connection unless a whole request head arrives in time; a running deadline is kept."""
        if self._deadline is None and (limit_s := self.app_state.get(DEADLINE_S)) is not None:
            self._deadline = self.loop.call_later(limit_s, self._on_deadline, limit_s)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self, limit_s: float) -> None:
        if self.transport.is_closing():
            return
        if self._head_bytes > 0:
            self._refuse(408, f"The headers did not arrive within {limit_s:g} s (REQUEST_DEADLINE_S)")
        else:
            self.transport.close()

    @property
    def idle_since_s(self) -> float:
        """Since when this connection has had no request to answer (the loop's clock); infinite if it has one."""
        if self._is_answering or self.transport.is_closing():
            return inf
        if self.timeout_keep_alive_task is not None:
            return self.timeout_keep_alive_task.when() - self.timeout_keep_alive
        return self._deadline.when() - self.app_state[DEADLINE_S] if self._deadline is not None else inf

    def _refuse(self, status: int, reason: str) -> None:
        """Answer a request that did not reach the application, and close."""
        if self._is_answering:  # an answer here would end up inside another response
            self.transport.abort()
            return
        answer = error_response(status, reason, {"Connection": "close"})
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in answer.raw_headers), b"\r\n"]
        self.transport.write(b"".join(lines) + bytes(answer.body))
        self._linger()

    def _linger(self) -> None:
        self._cancel_deadline()
        self._lingering.start()

    def _keep_reading(self, received_bytes: int) -> None:
        """Resume reading behind an unanswered request, within the limit: a paused transport detects no disconnect."""
        self._unfinished = [cycle for cycle in self._unfinished if not cycle.response_complete]
        self._pipelined_bytes = self._pipelined_bytes + received_bytes if self._unfinished else 0
        if self._pipelined_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
        elif self._unfinished and not self.transport.is_closing():
            self.flow.resume_reading()

    def _mark_disconnected(self) -> None:
        for cycle in (*self._unfinished, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._unfinished.clear()

    def _abort_connection(self, timeout_s: float) -> None:
        """Close the connection inside a response; bytes already sent have `timeout_s` to reach the client."""
        self._mark_disconnected()
        if timeout_s:
            self.transport.close()
            self.loop.call_later(timeout_s, self.transport.abort)
        else:
            self.transport.abort()
