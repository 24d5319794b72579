"""uvicorn's server with a limit on connections where file descriptors are scarce.

libuv accepts all waiting connections, and resets those for which it has no descriptor: aborts would be among them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import cast

from uvicorn.server import Server

from server.http.protocol import BoundedHttpProtocol
from server.ops.logs import LOG
from server.process import descriptors

PLENTIFUL_LIMIT = 16_384
"""From this limit on open files on libuv accepts, which halves the cost per connection."""
ACCEPTS_PER_ITERATION = 8
"""libuv accepts one connection of a descriptor in each iteration of the event loop, and then serves what it has
received: of many aborts at once, the last would be received after the others' chats have ended."""
MIN_IDLE_S = 1.0
"""An idle connection may be closed for newer ones after this time."""
RETRY_S = 0.01


class BoundedServer(Server):
    """Leaves clients in the kernel's backlog while no descriptors are free."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen."""
        self._accepting: list[asyncio.Task[None]] = []
        scarce = descriptors.budget(descriptors.open_files()).limit < PLENTIFUL_LIMIT
        if not scarce:
            await super().startup(None if sockets is None else _copies(sockets, ACCEPTS_PER_ITERATION))
        else:
            await super().startup([])
            limit = descriptors.budget(descriptors.open_files()).connections
            for listener in sockets or ():
                listener.setblocking(False)
                listener.listen(self.config.backlog)
                self._accepting.append(asyncio.create_task(self._accept(listener, limit)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, then shut down."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket, limit: int) -> None:
        loop, connections = asyncio.get_running_loop(), cast("set[BoundedHttpProtocol]", self.server_state.connections)
        while True:
            # No event is available for a connection that has been idle for long enough.
            while len(connections) >= limit and not _close_oldest(connections, loop.time() - MIN_IDLE_S):  # noqa: ASYNC110
                await asyncio.sleep(RETRY_S)
            try:
                connection, _ = await loop.sock_accept(listener)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError as error:
                LOG.warning("a connection could not be accepted: %s", error.strerror)
                await asyncio.sleep(RETRY_S)

    def _protocol(self) -> asyncio.Protocol:
        config = self.config
        return BoundedHttpProtocol(config=config, server_state=self.server_state, app_state=self.lifespan.state)


def _copies(sockets: Sequence[socket.socket], count: int) -> list[socket.socket]:
    """Return `count` descriptors of each socket, itself included; its server closes them."""
    return [copy for one in sockets for copy in (one, *(one.dup() for _ in range(count - 1)))]


def _close_oldest(connections: set[BoundedHttpProtocol], before_s: float) -> bool:
    """Close the connection that has been idle for longest, if since before `before_s`; returns whether it did."""
    oldest = min(connections, key=lambda one: one.idle_since_s, default=None)
    if oldest is None or oldest.idle_since_s >= before_s:
        return False
    oldest.transport.close()
    return True
