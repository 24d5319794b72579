"""The clients of `storm`: one request on its own connection, with its stamps (CLOCK_MONOTONIC seconds)."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, cast

TEXT, ABORTED = b'"delta":{"content":"', b'"finish_reason":"abort"'
TAIL_BYTES = 512
DEADLINE_S = 20.0


class Exchange(asyncio.Protocol):
    """A request and its response; the futures are done at the head, at the first text and at the end."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._tail = b""
        self.sent_s = time.monotonic()
        self.status = 0
        self.head: asyncio.Future[float] = loop.create_future()
        self.text: asyncio.Future[float] = loop.create_future()
        self.ended: asyncio.Future[float] = loop.create_future()

    @property
    def aborted(self) -> bool:
        """Whether the answer ended as an aborted one."""
        return ABORTED in self._tail

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Stamp the head and the first text; keep the end of the response."""
        now_s = time.monotonic()
        block = self._tail + data
        self._tail = block[-TAIL_BYTES:]
        if not self.status:
            self.status = int(block[9:12])
            _stamp(self.head, now_s)
        if not self.text.done() and TEXT in block:
            _stamp(self.text, now_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Stamp the end; what has not come will not."""
        for future in (self.head, self.text, self.ended):
            _stamp(future, time.monotonic())


def _stamp(future: asyncio.Future[float], now_s: float) -> None:
    if not future.done():  # a cancelled task cancels the future that it waits for
        future.set_result(now_s)


@dataclass(frozen=True)
class Owner:
    """A client of the service with an API key of its own."""

    port: int
    key: str

    async def chat(self, request_id: str, **mock: float) -> Exchange:
        """Start a chat; `mock` are the mock upstream's options."""
        return await self._send("/chat/", chat_body(request_id, **mock))

    async def abort(self, request_id: str) -> Exchange:
        """Send an abort, and return when it has been answered."""
        exchange = await self._send("/abort/", {"request_id": request_id})
        await asyncio.wait([exchange.ended], timeout=DEADLINE_S)
        return exchange

    async def _send(self, path: str, body: dict[str, Any]) -> Exchange:
        exchange = Exchange(request(path, body, self.key))
        await asyncio.get_running_loop().create_connection(lambda: exchange, "127.0.0.1", self.port)
        return exchange


def chat_body(request_id: str, **mock: float) -> dict[str, Any]:
    """The body of a chat with the mock's options, e.g. `itl_ms`."""
    marker = ",".join(f"{name}={value:g}" for name, value in mock.items())
    messages = [{"role": "user", "content": f"go on [mock:{marker}]"}]
    return {"model": "mock", "messages": messages, "request_id": request_id}


def request(path: str, body: dict[str, Any], key: str) -> bytes:
    """A whole POST request; the server closes the connection after its response."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}authorization: Bearer {key}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
