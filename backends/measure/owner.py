"""The second process: owns the chats and reports when each abort reached it.

Reads commands as JSON lines from stdin and answers each with a line on stdout. Timestamps are `time.monotonic_ns()`,
one clock for all processes of a host. Ends at the end of stdin.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any

import backends
from backends.base import Options
from backends.delivery import Delivery
from backends.measure.bare import open_bare

OWNER = "bench"
SEEN_DEADLINE_S = 10.0
CONCURRENT_STARTS = 8


class Owner:
    """Workers, their chats, and the arrival times."""

    def __init__(self, url: str, options: Options) -> None:
        self._url = url
        self._options = options
        self._stacks: list[AsyncExitStack] = []
        self._workers: list[Delivery] = []
        self._chats = AsyncExitStack()
        self._seen: dict[str, int] = {}
        self._missing: set[str] = set()
        self._complete = asyncio.Event()

    def record(self, name: str) -> None:
        """Record the time of an abort's signal or of a bare message; called as it arrives."""
        self._seen.setdefault(name, time.monotonic_ns())
        self._missing.discard(name)
        if not self._missing:
            self._complete.set()

    async def workers(self, count: int) -> None:
        """Start or end workers until `count` are listening."""
        await self._chats.aclose()
        while self._stacks and len(self._workers) > count:
            await self._stacks.pop().aclose()
            self._workers.pop()
        starts = asyncio.Semaphore(CONCURRENT_STARTS)

        async def start() -> None:
            async with starts, AsyncExitStack() as stack:
                worker = await stack.enter_async_context(backends.from_url(self._url, self._options))
                self._stacks.append(stack.pop_all())
                self._workers.append(worker)

        await asyncio.gather(*(start() for _ in range(count - len(self._workers))))

    async def watch(self, names: Iterable[str]) -> None:
        """Start these chats, spread over the workers."""
        for number, name in enumerate(names):
            watch = self._workers[number % len(self._workers)].watch(name, OWNER)
            signal = await self._chats.enter_async_context(watch)
            signal.on_abort(functools.partial(self.record, name))

    async def end_chats(self) -> None:
        """End all chats."""
        await self._chats.aclose()
        self._seen.clear()

    def expect(self, names: Iterable[str]) -> None:
        """Have the next `seen` wait for these."""
        self._missing = set(names)
        self._complete.clear()

    async def seen(self) -> dict[str, int]:
        """Return the arrival time of each name (ns), without those that did not arrive within the deadline."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), SEEN_DEADLINE_S)
        seen, self._seen = self._seen, {}
        return seen


async def serve(url: str, options: Options) -> None:
    """Execute the commands on stdin. An error of the store is reported as `{"error": ...}` and ends the process."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    owner = Owner(url, options)
    async with AsyncExitStack() as stack:
        try:
            bare = await stack.enter_async_context(open_bare(url, options))
            await stack.enter_async_context(bare.subscribed(owner.record))
            await owner.workers(1)
            _reply({"ready": True})
            while line := await reader.readline():
                _reply(await _execute(owner, json.loads(line)))
                if "expect" in json.loads(line):
                    _reply(await owner.seen())
        except backends.BackendError as error:
            _reply({"error": str(error)})
        finally:
            await owner.workers(0)


async def _execute(owner: Owner, command: dict[str, Any]) -> dict[str, Any]:
    match command:
        case {"workers": count}:
            await owner.workers(count)
        case {"watch": names}:
            await owner.watch(names)
        case {"end_chats": _}:
            await owner.end_chats()
        case {"expect": names}:
            owner.expect(names)
    return {"done": True}


def _reply(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
