"""HTTP: errors in OpenAI's format with the right status, keep-alive, pipelining, and limits."""

import itertools
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.mock_llm.conftest import END, Mock, chat_bytes, read_to_end, read_until, request_bytes


def send(mock: Mock, request: bytes) -> tuple[int, bytes, Any]:
    """Status, head and parsed JSON body of one response."""
    with mock.connect() as raw:
        raw.sendall(request)
        raw.shutdown(socket.SHUT_WR)
        head, _, body = read_to_end(raw).partition(b"\r\n\r\n")
    return int(head.split()[1]), head, json.loads(body)


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (request_bytes("POST", "/v1/chat/completions", body=b"{nope"), 400, "could not parse the JSON"),
        (request_bytes("POST", "/v1/chat/completions", body=b""), 400, "could not parse the JSON"),
        (request_bytes("POST", "/v1/chat/completions", body=b"[]"), 400, "object"),
        (request_bytes("POST", "/v1/chat/completions", body=b'{"messages":[]}'), 400, "parameter: 'model'"),
        (request_bytes("POST", "/v1/chat/completions", body=b'{"model":"m"}'), 400, "parameter: 'messages'"),
        (request_bytes("POST", "/v1/nothing", body=b"{}"), 404, "Invalid URL (POST /v1/nothing)"),
        (request_bytes("GET", "/v1/chat/completions"), 405, "choose POST"),
        (request_bytes("PUT", "/__mock/journal"), 405, "choose GET, DELETE"),
        (b"not http at all\r\n\r\n", 400, "not a valid HTTP request"),
        (request_bytes("GET", "/v1/models", "x-long: " + "x" * 70_000), 431, "head is over"),
        (chat_bytes().replace(b"HTTP/1.1", b"HTTP/1.0"), 505, "needs HTTP/1.1"),
    ],
)
def test_bad_requests(mock: Mock, request_: bytes, status: int, message: str) -> None:
    got, _, body = send(mock, request_)
    assert got == status
    assert message in body["error"]["message"]
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_a_405_lists_the_allowed_methods(mock: Mock) -> None:
    assert b"allow: GET, DELETE" in send(mock, request_bytes("POST", "/__mock/journal"))[1]


def test_a_body_over_the_limit_is_413_announced_or_chunked(start_mock: Callable[..., Mock]) -> None:
    mock = start_mock("--max-body-bytes", "100000", "--itl-ms", "0")
    announced = request_bytes("POST", "/v1/chat/completions", body=b"x" * 100_001)
    block = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    chunked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n" + block * 2
    for request in (announced, chunked + b"0\r\n\r\n"):
        status, head, body = send(mock, request)
        assert status == 413
        assert b"connection: close" in head
        assert "over 100000 bytes (--max-body-bytes)" in body["error"]["message"]
    assert accepted(mock, 100_000)


def accepted(mock: Mock, size: int) -> bool:
    """Whether a body of this size is accepted."""
    plain = json.dumps({"model": "m", "messages": [{"role": "user", "content": ""}]}).encode()
    body = plain.replace(b'"content": ""', b'"content": "' + b"x" * (size - len(plain)) + b'"')
    assert len(body) == size
    with mock.connect() as raw:
        raw.sendall(request_bytes("POST", "/v1/chat/completions", body=body))
        return read_until(raw, b"total_tokens").startswith(b"HTTP/1.1 200")


def test_a_body_with_an_image_is_accepted_by_default(mock: Mock) -> None:
    assert accepted(mock, 16 << 20)


def test_expect_100_continue(mock: Mock) -> None:
    request = chat_bytes("expect: 100-continue")
    head, _, body = request.partition(b"\r\n\r\n")
    with mock.connect() as raw:
        raw.sendall(head + b"\r\n\r\n")
        assert read_until(raw, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(body)
        assert read_until(raw, END).startswith(b"HTTP/1.1 200")


def test_a_request_in_single_bytes(mock: Mock) -> None:
    with mock.connect() as raw:
        for byte in chat_bytes("x-request-id: bytes"):
            raw.sendall(bytes([byte]))
        assert b"x-request-id: bytes" in read_until(raw, END)


def test_pipelined_requests_get_their_responses_in_order(mock: Mock) -> None:
    names = [f"pipe-{number}" for number in range(4)]
    with mock.connect() as raw:
        raw.sendall(b"".join(chat_bytes(f"x-request-id: {name}", "x-mock-output-tokens: 2") for name in names))
        answer = read_until(raw, END, 4).decode()
    assert [line[14:] for line in answer.split("\r\n") if line.startswith("x-request-id: ")] == names
    rows = [mock.ended_row(name) for name in names]
    assert all(earlier["done_ns"] <= later["headers_ns"] for earlier, later in itertools.pairwise(rows))


def test_too_many_pipelined_requests_end_the_connection(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("x-request-id: greedy", "x-mock-ttft-ms: 60000"))
        raw.sendall(request_bytes("GET", "/v1/models") * 20)
        read_to_end(raw)
    assert mock.ended_row("greedy")["outcome"] == "cut"


def test_connection_close_and_head_without_body(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(chat_bytes("connection: close"))
        assert read_to_end(raw).endswith(END)
    with mock.connect() as raw:
        raw.sendall(request_bytes("HEAD", "/v1/models", "connection: close"))
        head, _, body = read_to_end(raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405")
    assert body == b""


def test_health_for_load_generators(mock: Mock) -> None:
    assert send(mock, request_bytes("GET", "/health", "connection: close"))[::2] == (200, {"status": "ok"})
    with mock.connect() as raw:
        raw.sendall(request_bytes("HEAD", "/health", "connection: close"))
        head, _, body = read_to_end(raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b""


def test_an_upgrade_is_ignored(mock: Mock) -> None:
    with mock.connect() as raw:
        raw.sendall(request_bytes("GET", "/v1/models", "connection: Upgrade", "upgrade: h2c"))
        assert b"mock-gpt" in read_to_end(raw)
