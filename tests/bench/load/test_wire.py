"""Events of an answer, however its bytes are divided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bench.load.wire import Answer

SSE = (
    b': a comment\n\ndata: {"a": 1}\n\nevent: named\nid: 7\ndata: {"b":\ndata: 2}\n\n'
    b"event: named\ndata: text {\n\ndata: {broken\n\nretry: 5\n\ndata: [DONE]\n\n"
)
OF_SSE = [{"a": 1}, {"event": "named", "b": 2}, {"event": "named", "data": "text {"}, "{broken"]
CASES: dict[str, tuple[str, bytes, list[Any]]] = {
    "LF": ("sse", SSE, OF_SSE),
    "CRLF": ("sse", SSE.replace(b"\n", b"\r\n"), OF_SSE),
    "no last empty line": ("sse", b'data: {"a": 1}\n\ndata: {"a": 2}\n', [{"a": 1}, {"a": 2}]),
    "NDJSON": ("ndjson", b'{"a": 1}\n\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}]),
    "no last line break": ("ndjson", b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
    "a page": ("ndjson", b"<html>\n", ["<html>"]),
    "JSON": ("whole", b'{"a":\n [1]}', [{"a": [1]}]),
    "text": ("text", "grüße €".encode(), ["grüße €"]),
    "nothing": ("sse", b"", []),
}
HEADS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
    "connection": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
}


class Parts:
    """A socket that receives these parts, then the end of the connection."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = iter(parts)

    def recv(self, _most: int) -> bytes:
        return next(self._parts, b"")


def read(framing: str, *parts: bytes) -> Iterator[Any]:
    answer = Answer(Parts(*parts), framing=framing)
    while not answer.message_complete:
        answer.receive()
        yield from answer.events()


@pytest.mark.parametrize("end", HEADS)
@pytest.mark.parametrize("name", CASES)
def test_events_are_the_same_wherever_the_bytes_are_split(name: str, end: str) -> None:
    framing, body, expected = CASES[name]
    head = HEADS[end]
    data = (head % len(body) if b"%d" in head else head) + body
    for place in range(1, len(data)):
        found = list(read(framing, data[:place], data[place:]))
        assert found == expected or "".join(found) == "".join(expected), place
    found = list(read(framing, *(data[place : place + 1] for place in range(len(data)))))
    assert found == expected or "".join(found) == "".join(expected)


def test_chunks_are_joined() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert list(read("sse", head + b'8\r\ndata: {"\r\n', b'9\r\na": 1}\n\nd\r\n', b"0\r\n\r\n")) == [
        {"a": 1},
    ]


@pytest.mark.parametrize("head", [HEADS["length"] % 100, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_an_answer_that_breaks_off_is_an_error(head: bytes) -> None:
    with pytest.raises(ConnectionError, match="closed within the answer"):
        list(read("sse", head))
