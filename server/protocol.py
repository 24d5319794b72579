"""uvicorn's HTTP protocol, with what it lacks: a bound on a head while it comes, and an end for every open request.

A client that does not read would hold its chat, and the upstream that is paid for, for ever: it is cut off.

A client may send its next requests before the first is answered (pipelining). uvicorn then stops reading, so that it
does not see the client leave, and tells only the last of the requests when it does.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from server.limits import HANG_UP

HEAD_BYTES = 64 * 1024
"""Request line and headers as they come; complete ones have a bound of their own (limits.HEADER_BYTES)."""
UNREAD_S = 60.0
"""A client for whom bytes have waited so long without a break is taken to have left."""
_REFUSAL = STATUS_LINE[431] + b"connection: close\r\ncontent-length: 0\r\n\r\n"
_COMPLETE = -1


class BoundedHead(HttpToolsProtocol):
    """Answers 431 and closes when a head is longer than HEAD_BYTES and still not complete.

    Behind an unfinished answer it takes as many bytes of further requests, and then breaks the connection off.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_bytes = 0
        self._earlier: list[RequestResponseCycle] = []  # unfinished when the next request came
        self._behind_bytes = 0
        self._unread: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting; and keep in mind what this request stands behind."""
        self._head_bytes = _COMPLETE
        if self.cycle is not None and not self.cycle.response_complete:
            self._earlier.append(self.cycle)
        self.scope[HANG_UP] = self._hang_up  # type: ignore[literal-required]  # ours, beside ASGI's
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse; and refuse what is too long."""
        super().data_received(data)
        if self._earlier:
            self._read_on(len(data))
        if self._head_bytes == _COMPLETE:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_REFUSAL)
                self.transport.close()
            else:  # in the middle of another answer
                self.transport.abort()

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
        self._disconnect()
        super().connection_lost(exc)

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
