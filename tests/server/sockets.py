"""The harness's worker behind real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from server.http.protocol import BoundedHttpProtocol
from server.relay.chat import ChatResponse
from tests.server.harness import Stage


class Protocol(BoundedHttpProtocol):
    """The service's protocol, with an event for a client that reads too slowly."""

    paused: asyncio.Event

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused.set()


@dataclass
class Sockets:
    """The stage's worker behind real sockets: each request is a chat, whose id is its path's last part."""

    address: tuple[str, int]
    connections: set[Any]
    paused: asyncio.Event = field(default_factory=asyncio.Event)  # a client reads too slowly
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue)  # ids of chats whose tasks are over

    async def ask(self, *request_ids: str, kind: str = "chat", receive_bytes: int | None = None) -> socket.socket:
        """A connection over which all of these were asked for at once; it does not block."""
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, self.address)
        head = "GET /{}/{} HTTP/1.1\r\nHost: x\r\n\r\n"
        await loop.sock_sendall(connection, "".join(head.format(kind, name) for name in request_ids).encode())
        return connection


@asynccontextmanager
async def sockets(scene: Stage) -> AsyncIterator[Sockets]:
    """Serve the stage's worker over uvicorn's protocol as ours is, with small buffers for what it sends."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kind, request_id = scope["path"].strip("/").split("/")
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        response = ChatResponse(body, request_id=request_id, owner="me", worker=scene.worker, as_text=kind == "text")
        try:
            await response(scope, receive, send)
        finally:
            one.ended.put_nowait(request_id)

    config = uvicorn.Config(app, http=Protocol, log_config=None, access_log=False, lifespan="off")
    config.load()
    state = ServerState()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    one = Sockets(listener.getsockname(), state.connections)

    def protocol() -> Protocol:
        made = Protocol(config, state, {})
        made.paused = one.paused
        return made

    async with await asyncio.get_running_loop().create_server(protocol, sock=listener):
        yield one
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks)
