"""uvicorn's HTTP protocol with a bound on a request's head while it comes: uvicorn itself collects it without end."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES = 64 * 1024
"""Request line and headers as they come; complete ones have a bound of their own (limits.HEADER_BYTES)."""
_REFUSAL = STATUS_LINE[431] + b"connection: close\r\ncontent-length: 0\r\n\r\n"
_COMPLETE = -1


class BoundedHead(HttpToolsProtocol):
    """Answers 431 and closes when a head is longer than HEAD_BYTES and still not complete."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_bytes = 0

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._head_bytes = _COMPLETE
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse; and refuse what is too long."""
        super().data_received(data)
        if self._head_bytes == _COMPLETE:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_REFUSAL)
                self.transport.close()
            else:  # in the middle of another answer
                self.transport.abort()
