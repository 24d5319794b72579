"""uvicorn's HTTP protocol, with what it lacks: a bound on a head while it comes, and an end for every open request.

A client that does not read would hold its chat, and the upstream that is paid for, for ever: it is cut off. So is one
that does not finish its request.

A client may send its next requests before the first is answered (pipelining). uvicorn then stops reading, so that it
does not see the client leave, and tells only the last of the requests when it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from server.http.hosts import TARGET
from server.http.limits import ARRIVED, HANG_UP
from server.http.refusals import refusal

HEAD_BYTES = 64 * 1024
"""Request line and headers as they come; complete ones have a bound of their own (limits.HEADER_BYTES)."""
UNREAD_S = 60.0
"""A client for whom bytes have waited so long without a break is taken to have left."""
DEADLINE_S = "request_deadline_s"
"""Where the lifespan's state holds how long a request's head may take."""
LINGER_S = 5.0
"""How long a connection stays open for reading after an early refusal: closing it with unread bytes resets it, and a
reset can destroy the refusal before the client has read it (RFC 9112, section 9.6)."""
_COMPLETE = -1


class BoundedHead(HttpToolsProtocol):
    """Answers 431 and closes when a head is longer than HEAD_BYTES and still not complete, 408 when it takes too long.

    Behind an unfinished answer it takes as many bytes of further requests, and then breaks the connection off.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_bytes = 0
        self._earlier: list[RequestResponseCycle] = []  # unfinished when the next request came
        self._behind_bytes = 0
        self._unread: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._lingering = False

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Give the first request its deadline."""
        super().connection_made(transport)
        self._set_deadline()

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting; and keep in mind what this request stands behind."""
        self._head_bytes = _COMPLETE
        if self._answering:
            self._earlier.append(self.cycle)
        self.scope[HANG_UP] = self._hang_up  # type: ignore[literal-required]  # ours, beside ASGI's
        if not self.url.startswith(b"/") and (host := httptools.parse_url(self.url).host):
            self.scope[TARGET] = host  # type: ignore[literal-required]
        super().on_headers_complete()
        self.cycle.transport = _EarlyClose(self, self.scope)  # type: ignore[assignment]  # what a cycle uses of it

    def on_message_complete(self) -> None:
        """Note that nothing is to come of this request."""
        self.scope[ARRIVED] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parse; and refuse what is too long."""
        if self._lingering:
            return
        super().data_received(data)
        if self._earlier:
            self._read_on(len(data))
        if not self._answering:  # a part of a head, or what is left of a refused body
            self._set_deadline()
        elif self._deadline is not None:
            self._drop_deadline()
        if self._head_bytes == _COMPLETE:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"The request line and headers are larger than {HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP in the shape of all refusals; uvicorn's own answer might land in another one."""
        self._refuse(400, msg)

    def pause_writing(self) -> None:
        """The client reads too slowly: give it UNREAD_S to catch up."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self._hang_up, 0.0)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._all_read()

    def _all_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every open request, and not the last one only."""
        self._all_read()
        self._drop_deadline()
        self._disconnect()
        super().connection_lost(exc)

    def _set_deadline(self) -> None:
        """Close the connection unless a whole request head arrives in time; a deadline that runs is kept."""
        if self._deadline is None and (limit_s := self.app_state.get(DEADLINE_S)) is not None:
            self._deadline = self.loop.call_later(limit_s, self._overdue, limit_s)

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _overdue(self, limit_s: float) -> None:
        if self.transport.is_closing():
            return
        if self._head_bytes > 0:
            self._refuse(408, f"The headers did not arrive within {limit_s:g} s (REQUEST_DEADLINE_S)")
        else:
            self.transport.close()

    @property
    def idle_since_s(self) -> float:
        """Since when this connection has had no request to answer (the loop's clock); infinite if it has one."""
        if self._answering or self.transport.is_closing():
            return inf
        if self.timeout_keep_alive_task is not None:
            return self.timeout_keep_alive_task.when() - self.timeout_keep_alive
        return self._deadline.when() - self.app_state[DEADLINE_S] if self._deadline is not None else inf

    def _refuse(self, status: int, reason: str) -> None:
        """Answer a request that never reached the application, and close."""
        if self._answering:  # in the middle of another answer
            self.transport.abort()
            return
        answer = refusal(status, reason, {"Connection": "close"})
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in answer.raw_headers), b"\r\n"]
        self.transport.write(b"".join(lines) + bytes(answer.body))
        self.linger()

    def linger(self) -> None:
        """Close the connection for writing; go on reading, and drop what comes, until the client closes or LINGER_S."""
        if self.transport.is_closing() or self._lingering:
            return
        self._lingering = True
        self._drop_deadline()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _read_on(self, came_bytes: int) -> None:
        """Go on reading behind an unfinished answer, within the bound: who does not read sees nobody leave."""
        self._earlier = [cycle for cycle in self._earlier if not cycle.response_complete]
        self._behind_bytes = self._behind_bytes + came_bytes if self._earlier else 0
        if self._behind_bytes > HEAD_BYTES:
            self.transport.abort()
        elif self._earlier and not self.transport.is_closing():
            self.flow.resume_reading()

    def _disconnect(self) -> None:
        for cycle in (*self._earlier, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._earlier.clear()

    def _hang_up(self, patience_s: float) -> None:
        """Break the connection off in the middle of an answer; what is on its way has `patience_s` to get out."""
        self._disconnect()
        if patience_s:
            self.transport.close()
            self.loop.call_later(patience_s, self.transport.abort)
        else:
            self.transport.abort()


class _EarlyClose:
    """What a request's cycle uses of the transport; closes at once only if the whole request has arrived."""

    __slots__ = ("_protocol", "_scope", "is_closing", "write")

    def __init__(self, protocol: BoundedHead, scope: Mapping[str, Any]) -> None:
        self._protocol = protocol
        self._scope = scope
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        """Close the connection, or linger while the rest of the request arrives."""
        if ARRIVED in self._scope:
            self._protocol.transport.close()
        else:
            self._protocol.linger()
