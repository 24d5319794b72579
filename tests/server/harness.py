"""One chat inside this process: a controlled upstream, a store that answers on command, a client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Message

from backends import Delivery, Options
from backends.base import Chat
from backends.deliveries import PushDelivery
from backends.memory import MemoryStore
from server.api.openai_api import WholeChatResponse
from server.app import create_app
from server.ops.trace import Tracer
from server.relay.chat import ChatResponse
from server.relay.upstream_client import make_client
from server.settings import Settings
from server.worker import Worker

CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One connection at the upstream's end."""

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self.received = b""
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._upstream.connections.append(self)
        self._upstream.connected.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.asked.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self.left.set()

    def answer(self, *parts: bytes) -> None:
        """Send the head of a stream and these events."""
        self.transport.write(HEAD + b"".join(framed(part) for part in parts))

    def break_off(self) -> None:
        """End the body as if it were whole, without [DONE]."""
        self.transport.write(b"0\r\n\r\n")

    def end(self) -> None:
        """Say that the stream is complete."""
        self.transport.write(framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")


@dataclass
class Upstream:
    """Says nothing by itself."""

    url: str = ""
    connections: list[Connection] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    async def asked(self) -> Connection:
        """The first connection, once it has been asked something."""
        async with asyncio.timeout(10):
            await self.connected.wait()
            await self.connections[0].asked.wait()
        return self.connections[0]


class HeldStore(MemoryStore):
    """Registers when it is let, or fails then."""

    def __init__(self) -> None:
        super().__init__(Options(), notify=True)
        self.asked = asyncio.Event()
        self.free = asyncio.Event()
        self.verdict: BaseException | bool | None = None  # replaces the memory store's answer

    async def register(self, chat: Chat) -> bool:
        self.asked.set()
        await self.free.wait()
        verdict, self.verdict = self.verdict, None
        if isinstance(verdict, BaseException):
            raise verdict
        return await super().register(chat) or bool(verdict)


class Client:
    """The ASGI server's side of one request."""

    def __init__(self, on_body: Callable[[bytes], object] = lambda _body: None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.started = asyncio.Event()
        self.more = asyncio.Event()
        self.gone = asyncio.Event()
        self._on_body = on_body

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message.get("headers", ())}
            self.started.set()
        else:
            self.body += message["body"]
            self.more.set()
            self._on_body(message["body"])

    async def receives(self, part: bytes) -> None:
        """Return when the body holds this."""
        async with asyncio.timeout(10):
            while part not in self.body:
                self.more.clear()
                await self.more.wait()


@dataclass
class Stage:
    """A worker with all that it needs."""

    upstream: Upstream
    store: HeldStore
    worker: Worker

    async def chat(self, client: Client, request_id: str = "chat-1") -> ChatResponse:
        """Run one chat to its end."""
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        response = ChatResponse(body, request_id=request_id, owner="me", worker=self.worker)
        async with asyncio.timeout(10):
            await response({"type": "http"}, client.receive, client.send)
        return response


KINDS: dict[str, dict[str, Any]] = {"chat": {}, "text": {"as_text": True}, "v1": {"abort_reason": "stop"}, "whole": {}}
"""Every path of a chat: /chat/ as events and as text, /v1 streamed and whole."""


def make_chat(scene: Stage, kind: str, request_id: str = "chat-1", **body: Any) -> ChatResponse:
    """One chat, as the endpoint of its kind makes it."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": kind != "whole"} | body
    response = WholeChatResponse if kind == "whole" else ChatResponse
    return response(body, request_id=request_id, owner="me", worker=scene.worker, **KINDS[kind])


@asynccontextmanager
async def stage(delivery_type: type[Delivery] = PushDelivery, **settings_given: Any) -> AsyncIterator[Stage]:
    """The upstream listens, the worker is ready; registrations wait for `store.free`."""
    upstream, store = Upstream(), HeldStore()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    settings = Settings(openai_base_url=upstream.url, openai_api_key=SecretStr("x"), **settings_given)
    async with server, delivery_type(store) as delivery, make_client(settings) as client:
        yield Stage(upstream, store, Worker(settings, delivery, client, Tracer(None)))
        for connection in upstream.connections:
            connection.transport.abort()


@asynccontextmanager
async def application(settings: Settings) -> AsyncIterator[FastAPI]:
    """The whole application in this process, started; logging and signals stay pytest's."""
    app = create_app(settings)
    with mock.patch("server.app._call_before_shutdown"), mock.patch("server.app.start_logging"):
        async with app.router.lifespan_context(app):
            yield app


@asynccontextmanager
async def in_process(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the whole application in this process."""
    async with application(settings) as app:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as client:
            yield client
