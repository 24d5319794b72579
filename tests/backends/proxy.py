"""A TCP proxy that can abort connections, freeze them (half-open), or drop the store's messages."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

MESSAGE = re.compile(
    rb"A\0\0.{6}[^\0]*\0[^\0]*\0"  # length, process, channel, payload
    rb"|\*3\r\n\$[78]\r\ns?message\r\n\$\d+\r\n[^\r]*\r\n\$\d+\r\n[^\r]*\r\n"
    rb"|MSG [^\r ]*\.abort\.[^\r]*\r\n[^\r]*\r\n",
    re.DOTALL,
)
"""A message: PostgreSQL's NotificationResponse, one of Redis's two kinds of pub/sub, or
one of NATS on our subjects. It may follow a reply in one
read, so it is searched for."""


@dataclass(eq=False)
class _Link:
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    frozen: bool = False


class Proxy:
    """Forwards a loopback port to a server. New connections always work."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.drops_messages = False
        """Behave like a transaction pooler: LISTEN is confirmed, but no message is forwarded."""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection, in a task that `close` can wait for."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # A task that is cancelled before it started does not close the connection itself.
        task.add_done_callback(lambda done: writer.transport.abort() if done.cancelled() else None)

    async def close(self) -> None:
        """Abort every connection, including those being opened, and wait for their tasks."""
        self.cut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both directions until either side closes."""
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        link = _Link((writer, server_writer))
        self._links.add(link)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(link, reader, server_writer))
            tasks.create_task(self._pump(link, server_reader, writer, from_server=True))
        self._links.discard(link)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                kept = MESSAGE.sub(b"", data) if from_server and self.drops_messages else data
                if not link.frozen:
                    writer.write(kept)
                    await writer.drain()
        writer.close()

    def switch(self, port: int) -> None:
        """Forward new connections to another loopback port; open ones are unchanged, as after a failover."""
        self._target = ("127.0.0.1", port)

    def cut(self) -> int:
        """Reset every connection; return their number."""
        links = tuple(self._links)
        for link in links:
            for writer in link.writers:
                writer.transport.abort()
        return len(links)

    def freeze(self) -> int:
        """Silently discard all further data of the open connections; return their number."""
        for link in self._links:
            link.frozen = True
        return len(self._links)


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[Proxy]:
    """Start a proxy on a free loopback port."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
