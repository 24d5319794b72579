"""The mock as a process on a free port, its journal, and raw sockets to it."""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest

DEADLINE_S = 10
END = b"data: [DONE]\n\n\r\n0\r\n\r\n"  # of a streamed answer


@dataclass
class Mock:
    """A running mock; `url` has no trailing slash."""

    url: str
    process: subprocess.Popen[str]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def journal(self, request_id: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.journal_answer(id=request_id)["rows"]
        return rows

    def journal_answer(self, **query: str) -> dict[str, Any]:
        with urlopen(f"{self.url}/__mock/journal?{urlencode(query)}", timeout=DEADLINE_S) as answer:
            journal: dict[str, Any] = json.load(answer)
        return journal

    def wait_for_row(self, request_id: str) -> dict[str, Any]:
        """The first row of a request, once the mock has received it."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not (rows := self.journal(request_id)):
            assert time.monotonic() < deadline_s, f"{request_id} was not received"
            time.sleep(0.002)
        return rows[0]

    def ended_row(self, request_id: str) -> dict[str, Any]:
        """The only row of a request, once its outcome is no longer open."""
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s:
            rows = self.journal(request_id)
            assert len(rows) <= 1
            if rows and rows[0]["outcome"] != "open":
                return rows[0]
            time.sleep(0.002)
        raise AssertionError(f"{request_id} did not end: {self.journal(request_id)}")

    def clear_journal(self) -> int:
        with urlopen(Request(f"{self.url}/__mock/journal", method="DELETE"), timeout=DEADLINE_S) as answer:
            return int(answer.status)

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        raw = socket.socket()
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(DEADLINE_S)
        raw.connect(self.address)
        return raw


@contextmanager
def running_mock(*flags: str) -> Iterator[Mock]:
    """Run `python -m mock_llm serve --port 0 <flags>`; on exit SIGTERM must end it with exit code 0."""
    command = [sys.executable, "-m", "mock_llm", "serve", "--port", "0", *flags]
    stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed below, after the process has ended
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready http://"), line
        yield Mock(line.split()[1], process)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
        stderr.seek(0)
        assert stderr.read() == "", "a healthy mock prints nothing"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        stderr.close()


@pytest.fixture(scope="session")
def mock() -> Iterator[Mock]:
    """One mock for all tests: fast by default; tests override settings per request."""
    with running_mock("--ttft-ms", "5", "--itl-ms", "1", "--output-tokens", "12") as mock:
        yield mock


@pytest.fixture
def start_mock() -> Iterator[Callable[..., Mock]]:
    """Start another mock: start_mock("--seed", "7")."""
    with ExitStack() as stack:
        yield lambda *flags: stack.enter_context(running_mock(*flags))


def chat_bytes(*headers: str, path: str = "/v1/chat/completions", **body: Any) -> bytes:
    """The bytes of a chat request; streamed unless `stream=False`."""
    content = body.pop("content", "hello")
    payload = {"model": "m", "messages": [{"role": "user", "content": content}], "stream": True} | body
    return request_bytes("POST", path, *headers, body=json.dumps(payload).encode())


def request_bytes(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: mock", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_until(raw: socket.socket, needle: bytes, count: int = 1) -> bytes:
    """Everything received until `needle` was received `count` times."""
    data, seen = bytearray(), 0
    while seen < count:
        block = raw.recv(65536)
        assert block, f"closed after {bytes(data[-500:])!r}"
        overlap = data[len(data) - len(needle) + 1 :] if len(data) >= len(needle) else data
        seen += (overlap + block).count(needle)
        data += block
    return bytes(data)


def read_to_end(raw: socket.socket) -> bytes:
    data = b""
    while block := raw.recv(65536):
        data += block
    return data
