"""The soak's traffic: chats that finish, are aborted, lose their client, go wrong or come twice; answers checked."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

RATE_PER_S = 20.0
KINDS = {"finished": 35, "aborted": 30, "disconnected": 20, "bad": 10, "duplicate": 5}
"""What a chat turns out to be, and how many of a hundred."""
TIMEOUT = aiohttp.ClientTimeout(total=30)
ABORTED = b'"finish_reason":"abort"'
DONE = b"data: [DONE]\n\n"
TOO_LARGE = b"x" * (1024 * 1024 + 1)
ENDLESS = {"output_tokens": 100, "stall_at": 60, "stall_ms": 600_000}
"""A chat that outlives the soak's last look: a connection that nobody closes must not go away by itself."""
MESSAGES = [{"role": "user", "content": "hello"}]


class Traffic:
    """Chats at a fixed rate, whatever the service makes of them. `counts`: how many of each kind have ended."""

    def __init__(self, url: str, seed: int, id_prefix: str, *, sure_stops: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        """Answers that were not what they should be, in words, and how often."""
        self.started = 0
        self._url = url
        self._rng = random.Random(f"soak {seed}")
        self._prefix = id_prefix
        self._sure_stops = sure_stops
        self._kinds: dict[str, Callable[[aiohttp.ClientSession, str], Awaitable[None]]] = {
            "finished": self._finished,
            "aborted": self._aborted,
            "disconnected": self._disconnected,
            "bad": self._bad,
            "duplicate": self._duplicate,
        }

    async def run(self, seconds: float) -> None:
        """Start chats for this long; returns when the last has ended."""
        # Each request on a connection of its own, so that it may land on any worker.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session, asyncio.TaskGroup() as chats:
            began = loop.time()
            while (due := self.started / RATE_PER_S) < seconds:
                await asyncio.sleep(began + due - loop.time())
                kind = self._rng.choices(list(KINDS), list(KINDS.values()))[0]
                chats.create_task(self._one(session, kind, f"{self._prefix}-{self.started}"))
                self.started += 1

    async def _one(self, session: aiohttp.ClientSession, kind: str, request_id: str) -> None:
        try:
            await self._kinds[kind](session, request_id)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.wrong[f"{kind}: {type(error).__name__}"] += 1
        self.counts[kind] += 1

    def _chat(self, session: aiohttp.ClientSession, request_id: str, **mock: Any) -> Any:
        wanted = {"ttft_ms": 20, "itl_ms": 20, "output_tokens": self._rng.randint(5, 100)} | mock
        marker = ",".join(f"{name}={value}" for name, value in wanted.items())
        messages = [{"role": "user", "content": f"go on [mock:{marker}]"}]
        return session.post(
            f"{self._url}/chat/", json={"model": "mock", "messages": messages, "request_id": request_id}
        )

    def _expect(self, kind: str, found: object, *wanted: object) -> None:
        if found not in wanted:
            self.wrong[f"{kind}: {found} instead of {' or '.join(map(str, wanted))}"] += 1

    async def _finished(self, session: aiohttp.ClientSession, request_id: str) -> None:
        async with self._chat(session, request_id) as answer:
            self._expect("finished", answer.status, 200)
            self._expect("finished, whole", (await answer.read()).endswith(DONE), True)

    async def _aborted(self, session: aiohttp.ClientSession, request_id: str) -> None:
        wait_ms = self._rng.choice([0, 1000])
        async with self._chat(session, request_id, **ENDLESS) as answer:
            await answer.content.readany()
            await asyncio.sleep(self._rng.uniform(0, 0.5))
            body = {"request_id": request_id, "wait_ms": wait_ms}
            async with session.post(f"{self._url}/abort/", json=body) as stop:
                if not self._sure_stops and stop.status == 404:
                    return  # another worker's memory; leaving ends this chat
                self._expect("abort", stop.status, 200)
            if self._sure_stops:
                self._expect("aborted, says so", ABORTED in await answer.read(), True)

    async def _disconnected(self, session: aiohttp.ClientSession, request_id: str) -> None:
        silent = {"stall_at": 3} if self._rng.random() < 0.3 else {}
        async with self._chat(session, request_id, **(ENDLESS | silent)) as answer:
            self._expect("disconnected", answer.status, 200)
            await answer.content.readany()
            await asyncio.sleep(self._rng.uniform(0, 0.5))
            answer.close()

    async def _duplicate(self, session: aiohttp.ClientSession, request_id: str) -> None:
        async with self._chat(session, request_id, output_tokens=50) as first:
            await first.content.readany()
            async with self._chat(session, request_id) as second:
                # Two workers that keep ids in their own memory cannot know of each other's.
                self._expect("duplicate", second.status, 409, *(() if self._sure_stops else (200,)))
                await second.read()
            await first.read()

    async def _bad(self, session: aiohttp.ClientSession, request_id: str) -> None:
        chat = {"model": "mock", "messages": MESSAGES, "request_id": request_id}
        mistakes: list[tuple[str, bytes, int]] = [
            ("/chat/", b"{", 422),
            ("/chat/", json.dumps({"model": "mock"}).encode(), 422),
            ("/chat/", json.dumps(chat | {"request_id": "a b"}).encode(), 422),
            ("/chat/", TOO_LARGE, 413),
            ("/abort/", json.dumps({"request_id": f"{request_id}-nobody"}).encode(), 404),
            ("/abort/", json.dumps({"request_id": 7}).encode(), 422),
        ]
        which = self._rng.randrange(len(mistakes) + 2)
        if which == len(mistakes):
            async with self._chat(session, request_id, fault="http_429") as answer:
                self._expect("bad: upstream 429", answer.status, 429)
        elif which > len(mistakes):
            async with self._chat(session, request_id, output_tokens=20, fault="cut") as answer:
                self._expect("bad: upstream cut", b"event: error" in await answer.read(), True)
        else:
            path, content, status = mistakes[which]
            headers = {"Content-Type": "application/json"}
            async with session.post(f"{self._url}{path}", data=io.BytesIO(content), headers=headers) as answer:
                self._expect(f"bad: {path} {content[:20]!r}", answer.status, status)
