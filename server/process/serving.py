"""uvicorn's server where open files are scarce: it takes connections one by one, and only while it has files for them.

libuv accepts all connections that wait, and resets those it has no descriptor for: Stops would be among them.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from uvicorn.server import Server
from uvicorn.supervisors.multiprocess import Process

from server.http.protocol import BoundedHead
from server.ops.logs import LOG
from server.process import descriptors

PLENTY = 16_384
"""With this limit on open files libuv accepts, at half the cost per connection."""
FRESH_S = 1.0
"""A new connection has so long to send something before it may be closed in favour of newer ones."""
LOOK_AGAIN_S = 0.01


class BoundedServer(Server):
    """A server that leaves clients waiting in the kernel's backlog while it has no descriptors for them."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen."""
        self._accepting: list[asyncio.Task[None]] = []
        scarce = descriptors.budget(descriptors.open_files()).limit < PLENTY
        await super().startup([] if scarce else sockets)
        if scarce:
            most = descriptors.budget(descriptors.open_files()).connections
            for listener in sockets or ():
                listener.setblocking(False)
                listener.listen(self.config.backlog)
                self._accepting.append(asyncio.create_task(self._accept(listener, most)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end in order."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket, most: int) -> None:
        loop, connections = asyncio.get_running_loop(), cast("set[BoundedHead]", self.server_state.connections)
        while True:
            # No event tells of a connection that has become idle for long enough.
            while len(connections) >= most and not _close_oldest(connections, loop.time() - FRESH_S):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_S)
            try:
                connection, _ = await loop.sock_accept(listener)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError as error:
                LOG.warning("a connection could not be accepted: %s", error.strerror)
                await asyncio.sleep(LOOK_AGAIN_S)

    def _protocol(self) -> asyncio.Protocol:
        config = self.config
        return BoundedHead(config=config, server_state=self.server_state, app_state=self.lifespan.state)


class ServingProcess(Process):
    """A worker process with our server in it."""

    @property
    def server(self) -> Server:
        """The server, made in the worker."""
        if self._server is None:
            self._server = BoundedServer(config=self.config)
        return self._server


def _close_oldest(connections: set[BoundedHead], before_s: float) -> bool:
    """Close the connection that has been idle for longest, and since before that moment; whether there was one."""
    oldest = min(connections, key=lambda one: one.idle_since_s, default=None)
    if oldest is None or oldest.idle_since_s >= before_s:
        return False
    oldest.transport.close()
    return True
