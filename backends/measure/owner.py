"""The process on the other side: it owns the chats, and says when it learnt of each abort.

It is told what to do by JSON lines on stdin and answers each with a line on stdout. Stamps are `time.monotonic_ns()`,
one clock for all processes of a host. It ends when its stdin does.
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
OPEN_AT_ONCE = 8


class Owner:
    """Workers, their chats, and the stamps."""

    def __init__(self, url: str, options: Options) -> None:
        self._url = url
        self._options = options
        self._crowds: list[AsyncExitStack] = []
        self._workers: list[Delivery] = []
        self._chats = AsyncExitStack()
        self._seen: dict[str, int] = {}
        self._missing: set[str] = set()
        self._complete = asyncio.Event()

    def heard(self, name: str) -> None:
        """Stamp it: called in the moment of an abort's signal, or of a bare message."""
        self._seen.setdefault(name, time.monotonic_ns())
        self._missing.discard(name)
        if not self._missing:
            self._complete.set()

    async def workers(self, count: int) -> None:
        """So many workers are listening, no more and no fewer."""
        await self._chats.aclose()
        while self._crowds and len(self._workers) > count:
            await self._crowds.pop().aclose()
            self._workers.pop()
        gate = asyncio.Semaphore(OPEN_AT_ONCE)

        async def one() -> None:
            async with gate, AsyncExitStack() as stack:
                worker = await stack.enter_async_context(backends.from_url(self._url, self._options))
                self._crowds.append(stack.pop_all())
                self._workers.append(worker)

        await asyncio.gather(*(one() for _ in range(count - len(self._workers))))

    async def hold(self, names: Iterable[str]) -> None:
        """These chats are live, spread over the workers."""
        for number, name in enumerate(names):
            watch = self._workers[number % len(self._workers)].watch(name, OWNER)
            signal = await self._chats.enter_async_context(watch)
            signal.on_abort(functools.partial(self.heard, name))

    async def drop(self) -> None:
        """No chat is live."""
        await self._chats.aclose()
        self._seen.clear()

    def expect(self, names: Iterable[str]) -> None:
        """The next `seen` waits for these."""
        self._missing = set(names)
        self._complete.clear()

    async def seen(self) -> dict[str, int]:
        """When each name was heard (ns); those that did not come within the deadline are not in it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), SEEN_DEADLINE_S)
        seen, self._seen = self._seen, {}
        return seen


async def serve(url: str, options: Options) -> None:
    """Do what stdin says until it ends. An error of the store is told as `{"error": ...}` and ends the process."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    owner = Owner(url, options)
    async with AsyncExitStack() as stack:
        try:
            bare = await stack.enter_async_context(open_bare(url, options))
            await stack.enter_async_context(bare.subscribed(owner.heard))
            await owner.workers(1)
            _say({"ready": True})
            while line := await reader.readline():
                _say(await _obey(owner, json.loads(line)))
                if "expect" in json.loads(line):
                    _say(await owner.seen())
        except backends.BackendError as error:
            _say({"error": str(error)})
        finally:
            await owner.workers(0)


async def _obey(owner: Owner, command: dict[str, Any]) -> dict[str, Any]:
    match command:
        case {"workers": count}:
            await owner.workers(count)
        case {"hold": names}:
            await owner.hold(names)
        case {"drop": _}:
            await owner.drop()
        case {"expect": names}:
            owner.expect(names)
    return {"done": True}


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
