"""A TCP proxy that counts round trips in any protocol: client data that follows server data."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from backends.measure.bare import is_redis

BLOCK = 2**20  # larger than any request


class RoundTrips:
    """The round trips through the proxy, over all connections, including log-ins."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or (6379 if is_redis(url) else 5432))
        self._counted = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stamps_s: list[float] = []
        """When the request of each round trip passed."""
        self.url = url
        """The store's address through the proxy."""

    @property
    def count(self) -> int:
        """Number of round trips so far."""
        return len(self.stamps_s)

    async def until(self, count: int) -> None:
        """Return when this number of round trips is reached."""
        while self.count < count:
            self._counted.clear()
            await self._counted.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side closes it."""
        self._idle.clear()
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        writers = {writer, server_writer}
        self._writers |= writers
        answered = True  # since the last request

        async def forward_requests() -> None:
            nonlocal answered
            while data := await reader.read(BLOCK):
                if answered:
                    answered = False
                    self.stamps_s.append(time.monotonic())
                    self._counted.set()
                server_writer.write(data)

        async def forward_replies() -> None:
            nonlocal answered
            while data := await server_reader.read(BLOCK):
                answered = True
                writer.write(data)

        async def run(direction: asyncio.Task[None]) -> None:
            with contextlib.suppress(OSError):
                await direction
            for each in writers:
                each.transport.abort()  # which ends the other direction, too

        await asyncio.gather(*(run(asyncio.create_task(each)) for each in (forward_requests(), forward_replies())))
        for each in writers:
            with contextlib.suppress(OSError):
                await each.wait_closed()
        self._writers -= writers
        if not self._writers:
            self._idle.set()

    async def close(self) -> None:
        """Abort the open connections and wait for their end."""
        for each in self._writers:
            each.transport.abort()
        await self._idle.wait()


@asynccontextmanager
async def counting(url: str) -> AsyncIterator[RoundTrips]:
    """Put a proxy on a free loopback port in front of the store."""
    trips = RoundTrips(url)
    server = await asyncio.start_server(trips.serve, "127.0.0.1", 0, limit=BLOCK)
    parts = urlsplit(url)
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    trips.url = parts._replace(netloc=f"{login}127.0.0.1:{server.sockets[0].getsockname()[1]}").geturl()
    try:
        yield trips
    finally:
        server.close()
        await trips.close()
        await server.wait_closed()
