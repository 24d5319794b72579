"""The load's sockets: a request's bytes, connections, and server-sent events as they arrive, over gevent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any
from urllib.parse import urlsplit

from gevent import socket
from geventhttpclient.response import HTTPResponse

BLOCK_BYTES = 65536


class Answer(HTTPResponse):
    """geventhttpclient's parser, reading a socket block by block and returning server-sent events as they arrive."""

    def __init__(self, sock: Any, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__(method="POST")
        self._sock = sock
        self._block_bytes = block_bytes
        self.body = b""

    def _on_body(self, buf: bytearray) -> None:
        self.body += bytes(buf)

    def receive(self) -> int:
        """Wait for the next bytes and parse them. Returns when they were received."""
        data = self._sock.recv(self._block_bytes)
        now_ns = monotonic_ns()
        if not data:
            raise ConnectionError("the connection was closed within the answer")
        self.feed(data)
        return now_ns

    def events(self) -> Iterator[bytes]:
        """The complete events received so far, each once."""
        *complete, self.body = self.body.split(b"\n\n")
        for event in complete:
            if event.startswith(b"data: {"):
                yield event[len(b"data: ") :]


def connect(url: str, deadline_s: float, receive_bytes: int | None = None) -> Any:
    """Open a connection: each request has its own, so that it may reach any worker."""
    address = urlsplit(url)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_bytes is not None:  # much smaller, and loopback's 64 KB segments would make TCP wait by itself
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(receive_bytes, 16384))
    sock.settimeout(deadline_s)
    try:
        sock.connect((address.hostname, address.port))
    except BaseException:
        sock.close()
        raise
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def post(url: str, path: str, body: dict[str, Any], request_id: str) -> bytes:
    """The bytes of a request, made before the moment it is sent."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n"
    head += f"X-Request-Id: {request_id}\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def error_text(error: BaseException) -> str:
    """The type and message of an error."""
    return f"{type(error).__name__}: {error}"
