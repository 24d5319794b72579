"""The load's sockets: connections, and the events of an answer as they arrive, over gevent."""

import codecs
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any
from urllib.parse import urlsplit

import msgspec
from gevent import socket
from geventhttpclient.response import HTTPResponse

BLOCK_BYTES = 65536


class Answer(HTTPResponse):
    """geventhttpclient's parser, reading a socket block by block and returning events as they arrive."""

    def __init__(self, sock: Any, block_bytes: int = BLOCK_BYTES, framing: str = "sse") -> None:
        super().__init__(method="POST")
        self._sock = sock
        self._block_bytes = block_bytes
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._split = {"sse": self._server_sent, "ndjson": self._lines, "text": self._text}.get(framing, self._whole)
        self.body = b""

    def _on_body(self, buf: bytearray) -> None:
        self.body += bytes(buf)

    def receive(self) -> int:
        """Wait for the next bytes and parse them. Returns when they were received."""
        data = self._sock.recv(self._block_bytes)
        now_ns = monotonic_ns()
        if not data:
            if self.headers_complete and "content-length" not in self and "transfer-encoding" not in self:
                self.message_complete = True  # this body ends with its connection (RFC 9112, 6.3)
                return now_ns
            raise ConnectionError("the connection was closed within the answer")
        self.feed(data)
        return now_ns

    def events(self) -> Iterator[Any]:
        """The complete events received so far, decoded, each once."""
        return self._split()

    def _server_sent(self) -> Iterator[Any]:
        if b"\r" in self.body:
            self.body = self.body.replace(b"\r\n", b"\n")
        for event in self._complete(b"\n\n"):
            if event.startswith(b"data: {") and b"\n" not in event:  # nearly all
                yield _decoded(event[6:])
            elif (decoded := _fields(event)) is not None:
                yield decoded

    def _lines(self) -> Iterator[Any]:
        for line in self._complete(b"\n"):
            if line.strip():
                yield _decoded(line)

    def _text(self) -> Iterator[Any]:
        text = self._characters.decode(self.body, final=self.message_complete)
        self.body = b""
        if text:
            yield text

    def _complete(self, separator: bytes) -> list[bytes]:
        """The parts received so far; the last one ends with the answer, with or without its separator."""
        *complete, self.body = self.body.split(separator)
        if self.message_complete and self.body:
            complete.append(self.body)
            self.body = b""
        return complete

    def _whole(self) -> Iterator[Any]:
        if self.message_complete and self.body:
            body, self.body = self.body, b""
            yield _decoded(body)


def _fields(event: bytes) -> Any:
    """An event of several lines: its data, decoded, with the name of the event as `event`; None without data."""
    name, data = "", []
    for line in event.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip().decode(errors="replace")
    if not data or data == [b"[DONE]"]:
        return None
    content = _decoded(b"\n".join(data))
    if not isinstance(content, dict):
        content = {"data": content}
    return {"event": name, **content} if name else content


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except ValueError:
        return data.decode(errors="replace")


def connect(url: str, deadline_s: float, receive_bytes: int | None = None) -> Any:
    """Open a connection: each request has its own, so that it may reach any worker."""
    address = urlsplit(url)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_bytes is not None:  # much smaller, and loopback's 64 KB segments would make TCP wait by itself
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(receive_bytes, 16384))
    sock.settimeout(deadline_s)
    try:
        sock.connect((address.hostname, address.port or 80))
    except BaseException:
        sock.close()
        raise
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def error_text(error: BaseException) -> str:
    """The type and message of an error."""
    return f"{type(error).__name__}: {error}"
