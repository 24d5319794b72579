"""A TCP proxy that can cut its connections, carry nothing more over them (half-open), or drop the store's messages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

MESSAGES = (b"A", b"*3\r\n$7\r\nmessage", b"*3\r\n$8\r\nsmessage")
"""How a message begins: PostgreSQL's NotificationResponse, and those of Redis's two kinds of pub/sub."""


@dataclass(eq=False)
class _Link:
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    deaf: bool = False


class Proxy:
    """Forwards a loopback port to a server, until told otherwise. New connections always work."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.drops_messages = False
        """Whether to behave as a transaction pooler does: everything works but LISTEN, which is only confirmed."""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection in a task that `close` can wait for."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # A task that is cancelled before it began closes nothing itself.
        task.add_done_callback(lambda done: writer.transport.abort() if done.cancelled() else None)

    async def close(self) -> None:
        """End every connection, those that are being made too, and return when nothing of them runs."""
        self.cut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both ways, until either side closes."""
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        link = _Link((writer, far_writer))
        self._links.add(link)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(link, reader, far_writer))
            tasks.create_task(self._pump(link, far_reader, writer, from_server=True))
        self._links.discard(link)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                dropped = from_server and self.drops_messages and data.startswith(MESSAGES)
                if not link.deaf and not dropped:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    def switch(self, port: int) -> None:
        """Lead new connections to another loopback port; open ones stay where they are, as after a failover."""
        self._target = ("127.0.0.1", port)

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        links = tuple(self._links)
        for link in links:
            for writer in link.writers:
                writer.transport.abort()
        return len(links)

    def deafen(self) -> int:
        """Let every connection that is open now carry nothing more, without a word; how many there were."""
        for link in self._links:
            link.deaf = True
        return len(self._links)


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free loopback port."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
