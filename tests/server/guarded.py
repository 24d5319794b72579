"""The settings of the session's guarded service (conftest), and a raw connection to it."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PAGE = "https://app.example"
MAX_BODY_BYTES = 4096
REQUEST_DEADLINE_S = 1.5
ALICE, BOB = {"Authorization": "Bearer alice-key"}, {"Authorization": "Bearer bob-key"}


class Wire:
    """One connection; bytes behind an answer stay for the next read."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = b""

    def send(self, *lines: str, body: bytes = b"") -> None:
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def send_bytes(self, data: bytes) -> None:
        self._connection.sendall(data)

    def send_endlessly(self, data: bytes) -> None:
        while True:
            self._connection.sendall(data)

    def until(self, end: bytes) -> bytes:
        """Read up to and including `end`."""
        while end not in self._read:
            more = self._connection.recv(65536)
            assert more, f"closed after {self._read!r}"
            self._read += more
        found, _, self._read = self._read.partition(end)
        return found + end

    def answer(self) -> tuple[int, str, Any]:
        """Status, head and parsed body of the next answer."""
        head = self.until(b"\r\n\r\n").decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        while len(self._read) < length:
            self._read += self._connection.recv(65536)
        body, self._read = self._read[:length], self._read[length:]
        return int(head.split()[1]), head, json.loads(body)

    def rest(self) -> bytes:
        """Read until the service closes the connection."""
        try:
            while more := self._connection.recv(65536):
                self._read += more
        except ConnectionResetError:
            pass
        return self._read


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield Wire(connection)
