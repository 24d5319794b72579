"""A TCP proxy that counts round trips: how often a client speaks after the server did, whatever the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from backends.measure.bare import is_redis

BLOCK = 2**20  # a request comes in one piece


class Trips:
    """Everything that went through the proxy."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or (6379 if is_redis(url) else 5432))
        self._more = asyncio.Event()
        self._ends: set[asyncio.StreamWriter] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stamps_s: list[float] = []
        """One for each round trip: when its request came by."""
        self.url = url
        """The store's address through the proxy."""

    @property
    def count(self) -> int:
        """Round trips so far, over all connections, those for logging in included."""
        return len(self.stamps_s)

    async def until(self, count: int) -> None:
        """Return when there have been so many."""
        while self.count < count:
            self._more.clear()
            await self._more.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side closes it."""
        self._idle.clear()
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        ends = {writer, far_writer}
        self._ends |= ends
        answered = True  # the server has said all it will say until it is asked again

        async def ask() -> None:
            nonlocal answered
            while data := await reader.read(BLOCK):
                if answered:
                    answered = False
                    self.stamps_s.append(time.monotonic())
                    self._more.set()
                far_writer.write(data)

        async def answer() -> None:
            nonlocal answered
            while data := await far_reader.read(BLOCK):
                answered = True
                writer.write(data)

        async def carry(way: asyncio.Task[None]) -> None:
            with contextlib.suppress(OSError):
                await way
            for end in ends:
                end.transport.abort()  # which ends the other way, too

        await asyncio.gather(*(carry(asyncio.create_task(way)) for way in (ask(), answer())))
        for end in ends:
            with contextlib.suppress(OSError):
                await end.wait_closed()
        self._ends -= ends
        if not self._ends:
            self._idle.set()

    async def close(self) -> None:
        """Cut what is still open; nothing of it is left."""
        for end in self._ends:
            end.transport.abort()
        await self._idle.wait()


@asynccontextmanager
async def counting(url: str) -> AsyncIterator[Trips]:
    """The store behind a proxy on a free loopback port."""
    trips = Trips(url)
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
