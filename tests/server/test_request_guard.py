"""The checks before a request's body is read, and the deadlines of heads and bodies."""

import asyncio
import json
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from starlette.types import Message

import server.http.request_guard
from server.http.hosts import AllowedHosts
from server.http.request_guard import REQUEST_BODY, REQUEST_COMPLETE, RequestGuard
from server.http.security import ApiKeys
from server.settings import Settings
from tests.server.guarded import MAX_BODY_BYTES, REQUEST_DEADLINE_S, wire
from tests.server.harness import Client
from tests.server.service import question

PATHS = ["/chat/", "/abort/", "/v1/chat/completions"]
KEY = "Authorization: Bearer alice-key"


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
        one.send(*post(path, KEY, length=MAX_BODY_BYTES + 1))
        status, _, body = one.answer()
        assert (status, body["error"]["type"]) == (413, "invalid_request_error")
        assert "4096" in body["detail"]


@pytest.mark.parametrize("path", ["/chat/", "/v1/chat/completions"])
def test_a_chat_above_its_owners_limit_is_refused_before_its_body_comes(guarded_url: str, path: str) -> None:
    body = json.dumps(question("[mock:ttft_ms=1,itl_ms=1000]")).encode()
    with wire(guarded_url) as one:
        with wire(guarded_url) as first, wire(guarded_url) as second:
            for chat in (first, second):
                chat.send(*post("/chat/", KEY, length=len(body)), body=body)
                chat.until(b"data:")
            one.send(*post(path, KEY))
            status, head, answer = one.answer()
        assert (status, answer["error"]["type"]) == (429, "refused")
        assert "retry-after" in head
        assert "x-worker" in head
        one.send_bytes(b"x" * 100)  # the body that was announced is dropped, and the connection goes on
        while status == 429:  # until the service has noticed that the two have left
            one.send(*post(path, KEY), body=b"x" * 100)
            status = one.answer()[0]
        assert status == 422


HALF = {
    **{f"body of {path}": "\r\n".join([*post(path, KEY), "", "{"]) for path in PATHS},
    "head": "POST /chat/ HTTP/1.1\r\nHost: localhost\r\nX-",
    "first byte": "P",
    "second head": "GET /hea",
    "no byte": "",
    "empty line": "\r\n",
}
"""Requests that are never completed; all of them wait for the deadline at the same time."""


def test_half_a_request_has_a_deadline(guarded_url: str) -> None:
    with ExitStack() as stack:
        wires = {name: stack.enter_context(wire(guarded_url)) for name in HALF}
        wires["second head"].send("GET /healthz HTTP/1.1", "Host: localhost")
        assert wires["second head"].answer()[0] == 200
        for name, sent in HALF.items():
            wires[name].send_bytes(sent.encode())
        for name, one in wires.items():
            if name in ("no byte", "empty line"):
                assert not one.rest().startswith(b"HTTP/1.1 2")
            else:
                status, head, body = one.answer()
                assert (status, body["error"]["type"]) == (408, "invalid_request_error"), name
                assert "connection: close" in head
                assert "REQUEST_DEADLINE_S" in body["detail"]
                assert one.rest() == b""


def test_a_body_in_the_same_read_is_not_counted_as_the_next_head(guarded_url: str) -> None:
    with wire(guarded_url) as one:
        one.send("GET /healthz HTTP/1.1", "Host: localhost")
        worker = psutil.Process(one.answer()[2]["pid"])
        one.send(*post("/chat/", length=100_000))
        assert one.answer()[0] == 401
        worker.suspend()  # so that it reads the next bytes at once
        one.send_bytes(b"x" * 100_000 + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half: ")
        worker.resume()
        one.send_bytes(b"x\r\n\r\n")
        assert one.answer()[0] == 200


def test_a_refused_body_is_not_read_for_ever(guarded_url: str) -> None:
    with wire(guarded_url) as one:
        one.send(*post("/chat/", length=10**15))
        assert one.answer()[0] == 401
        with pytest.raises(OSError, match=r"Broken pipe|reset by peer"):
            one.send_endlessly(b"x" * 1024)


@pytest.mark.parametrize(
    ("more", "length", "status"), [((KEY,), 2, 422), ((), 2, 401), ((KEY,), MAX_BODY_BYTES + 1, 413)], ids=str
)
def test_a_client_that_expects_100_continue(guarded_url: str, more: tuple[str, ...], length: int, status: int) -> None:
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
def test_the_service_reads_on_after_an_early_refusal(guarded_url: str, early: str) -> None:
    """A connection that is closed at once is reset by the next bytes, and the reset can destroy the answer."""
    lines, status = EARLY[early]
    piece = b"x" * 8192
    if early == "413, chunked":
        piece = b"2000\r\n" + piece + b"\r\n"
    with wire(guarded_url) as one:
        if early == "431":
            one.send_bytes("\r\n".join([*lines, "X-Long: "]).encode())
        else:
            one.send(*lines)
        for _ in range(9):  # more than a head and a body may have
            one.send_bytes(piece)
        got, head, _ = one.answer()
        assert got == status
        assert "connection: close" in head
        for _ in range(128):  # raises where the service has closed the connection
            one.send_bytes(piece)
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
    text = f"[mock:output_tokens=3,itl_ms={REQUEST_DEADLINE_S * 400}]"
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
