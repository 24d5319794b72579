"""What a request must pass before its body is read, and how long it may take to come."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.types import Message

import server.http.request_guard
from server.http.hosts import AllowedHosts
from server.http.request_guard import REQUEST_BODY, REQUEST_COMPLETE, RequestGuard
from server.http.security import ApiKeys
from server.settings import Settings
from tests.processes import running
from tests.server.harness import Client

DEADLINE_S = 1.0
MOST_BYTES = 4096
PATHS = ["/chat/", "/abort/", "/v1/chat/completions"]
KEY = "Authorization: Bearer the-key"


@pytest.fixture(scope="module")
def guarded_url(upstream_url: str) -> Iterator[str]:
    with running(
        *("server", "--port", "0", "--workers", "1", "--backend", "memory+push://"),
        OPENAI_BASE_URL=f"{upstream_url}/v1",
        API_KEYS="the-key",
        REQUEST_DEADLINE_S=str(DEADLINE_S),
        MAX_BODY_BYTES=str(MOST_BYTES),
    ) as service:
        yield service.url


class Wire:
    """One connection; what has been read of it is kept."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = b""

    def send(self, *lines: str, body: bytes = b"") -> None:
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def send_bytes(self, data: bytes) -> None:
        self._connection.sendall(data)

    def send_for_ever(self, data: bytes) -> None:
        while True:
            self._connection.sendall(data)

    def until(self, end: bytes) -> bytes:
        """What comes up to and with `end`."""
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
        """What still comes until the service closes."""
        try:
            while more := self._connection.recv(65536):
                self._read += more
        except ConnectionResetError:
            pass
        return self._read


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S + 9) as connection:
        yield Wire(connection)


def post(path: str, *more: str, length: int = 100) -> tuple[str, ...]:
    kind = "Content-Type: application/json"
    return (f"POST {path} HTTP/1.1", "Host: localhost", kind, f"Content-Length: {length}", *more)


@pytest.mark.parametrize("path", PATHS)
def test_the_key_is_asked_for_before_the_body(guarded_url: str, path: str) -> None:
    with wire(guarded_url) as one:
        one.send(*post(path, "Authorization: Bearer wrong"))
        status, head, body = one.answer()
        assert (status, body["error"]["type"]) == (401, "invalid_request_error")
        assert "www-authenticate: bearer" in head
        one.send_bytes(b"x" * 100)  # the body that was announced is dropped, and the connection goes on
        one.send(*post(path, KEY), body=b"x" * 100)
        assert one.answer()[0] == 422


@pytest.mark.parametrize("path", PATHS)
def test_a_body_announced_too_large_is_refused_before_it_comes(guarded_url: str, path: str) -> None:
    with wire(guarded_url) as one:
        one.send(*post(path, KEY, length=MOST_BYTES + 1))
        status, _, body = one.answer()
        assert (status, body["error"]["type"]) == (413, "invalid_request_error")
        assert "4096" in body["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_half_a_body_has_a_deadline(guarded_url: str, path: str) -> None:
    with wire(guarded_url) as one:
        one.send(*post(path, KEY), body=b"{")
        status, head, body = one.answer()
        assert (status, body["error"]["type"]) == (408, "invalid_request_error")
        assert "connection: close" in head
        assert "REQUEST_DEADLINE_S" in body["detail"]
        assert one.rest() == b""


@pytest.mark.parametrize("sent", ["POST /chat/ HTTP/1.1\r\nHost: localhost\r\nX-", "P"])
def test_half_a_head_has_a_deadline(guarded_url: str, sent: str) -> None:
    with wire(guarded_url) as one:
        one.send_bytes(sent.encode())
        status, _, body = one.answer()
        assert (status, body["error"]["type"]) == (408, "invalid_request_error")
        assert one.rest() == b""


def test_half_a_head_after_an_answer_has_a_deadline_too(guarded_url: str) -> None:
    with wire(guarded_url) as one:
        one.send("GET /healthz HTTP/1.1", "Host: localhost")
        assert one.answer()[0] == 200
        one.send_bytes(b"GET /hea")
        assert one.answer()[0] == 408
        assert one.rest() == b""


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_connection_that_asks_nothing_is_closed(guarded_url: str, sent: bytes) -> None:
    with wire(guarded_url) as one:
        one.send_bytes(sent)
        assert not one.rest().startswith(b"HTTP/1.1 2")


def test_a_refused_body_is_not_read_for_ever(guarded_url: str) -> None:
    with wire(guarded_url) as one:
        one.send(*post("/chat/", length=10**15))
        assert one.answer()[0] == 401
        with pytest.raises(OSError, match=r"Broken pipe|reset by peer"):
            one.send_for_ever(b"x" * 1024)


@pytest.mark.parametrize(
    ("more", "length", "status"), [((KEY,), 2, 422), ((), 2, 401), ((KEY,), MOST_BYTES + 1, 413)], ids=str
)
def test_a_client_that_waits_to_be_told_to_go_on(
    guarded_url: str, more: tuple[str, ...], length: int, status: int
) -> None:
    with wire(guarded_url) as one:
        one.send(*post("/chat/", "Expect: 100-continue", *more, length=length))
        if status == 422:
            assert one.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            one.send_bytes(b"{}")
            assert one.answer()[0] == 422
        else:  # no `100 Continue`, and no second request in place of the body
            got, head, _ = one.answer()
            assert got == status
            assert "connection: close" in head
            assert one.rest() == b""


CLOSE = "Connection: close"
EARLY = {
    "413, announced": (post("/chat/", KEY, CLOSE, length=2**22), 413),
    "413, HTTP/1.0": (("POST /chat/ HTTP/1.0", *post("/chat/", KEY, length=2**22)[1:]), 413),
    "413, chunked": (("POST /chat/ HTTP/1.1", "Host: localhost", KEY, CLOSE, "Transfer-Encoding: chunked"), 413),
    "401": (post("/v1/chat/completions", CLOSE, length=2**22), 401),
    "431": (("GET /healthz HTTP/1.1", "Host: localhost"), 431),
}


@pytest.mark.parametrize("early", EARLY)
def test_a_client_that_sends_on_after_a_refusal_can_read_it(guarded_url: str, early: str) -> None:
    """Closed at once, the connection is reset by what still comes, and the answer with it."""
    lines, status = EARLY[early]
    piece = b"x" * 8192
    if early == "413, chunked":
        piece = b"2000\r\n" + piece + b"\r\n"
    with wire(guarded_url) as one:
        if early == "431":
            one.send_bytes("\r\n".join([*lines, "X-Long: "]).encode())
        else:
            one.send(*lines)
        for _ in range(256):
            one.send_bytes(piece)
        got, head, _ = one.answer()
        assert got == status
        assert "connection: close" in head
        assert one.rest() == b""


def test_what_is_not_http_is_refused_in_the_shape_of_all_refusals(guarded_url: str) -> None:
    for sent in (b"not http\r\n\r\n", b"GET /v1/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with wire(guarded_url) as one:
            one.send_bytes(sent)
            status, _, body = one.answer()
            assert (status, body["error"]["type"]) == (400, "invalid_request_error")
            assert one.rest() == b""


def test_what_is_not_http_behind_a_chat_does_not_get_into_its_answer(guarded_url: str) -> None:
    content = json.dumps({"model": "m", "messages": [{"role": "user", "content": "[mock:itl_ms=20]"}]}).encode()
    with wire(guarded_url) as one:
        one.send(*post("/chat/", KEY, length=len(content)), body=content)
        one.until(b"data: ")
        one.send_bytes(b"not http\r\n\r\n")
        assert b"HTTP/1.1" not in one.rest()


def test_a_deadline_does_not_end_a_chat(guarded_url: str) -> None:
    text = f"[mock:output_tokens=3,itl_ms={DEADLINE_S * 600}]"
    content = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    with wire(guarded_url) as one:
        one.send(*post("/chat/", KEY, length=len(content)), body=content)
        assert one.until(b"[DONE]").startswith(b"HTTP/1.1 200")


class Uploading(Client):
    """A body in two parts, the second of which comes after the deadline."""

    def __init__(self) -> None:
        super().__init__()
        self._parts = [b"x" * 1000, b"y"]

    async def receive(self) -> Message:
        part = self._parts.pop(0)
        if not self._parts:
            await asyncio.sleep(0.1)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}


@pytest.mark.parametrize(("bytes_per_s", "status"), [(1000, 200), (10**9, 408)])
async def test_a_slow_but_steady_upload_has_more_time(
    monkeypatch: pytest.MonkeyPatch, bytes_per_s: int, status: int
) -> None:
    monkeypatch.setattr(server.http.request_guard, "MIN_UPLOAD_BYTES_PER_S", bytes_per_s)
    settings, client = Settings(request_deadline_s=0.05), Uploading()
    bodies: list[bytes] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        bodies.append(scope[REQUEST_BODY])
        await send({"type": "http.response.start", "status": 200})

    scope = {"type": "http", "method": "POST", "path": "/chat/", "headers": [(b"host", b"localhost")]}
    await RequestGuard(app, settings, ApiKeys(settings), AllowedHosts(settings))(scope, client.receive, client.send)
    assert client.status == status
    assert bodies == ([b"x" * 1000 + b"y"] if status == 200 else [])


async def test_a_body_that_has_arrived_needs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    def timer(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(asyncio, "timeout_at", timer)
    settings, client = Settings(), Client()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"whole"}

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200 if scope[REQUEST_BODY] == b"whole" else 500})

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/abort/",
        "headers": [(b"host", b"localhost")],
        REQUEST_COMPLETE: True,
    }
    await RequestGuard(app, settings, ApiKeys(settings), AllowedHosts(settings))(scope, receive, client.send)
    assert client.status == 200
