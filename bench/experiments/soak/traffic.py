"""The soak's traffic: chats that finish, are aborted, lose their client, are bad or duplicate; all checked."""

import asyncio
import contextlib
import io
import json
import random
from collections import Counter
from typing import Any

import aiohttp

RATE_PER_S = 20.0
KINDS = {"finished": 35, "aborted": 30, "disconnected": 20, "bad": 10, "duplicate": 5}
"""The kinds of chats, in per cent."""
FORMS = {"chat": 40, "text": 20, "stream": 20, "whole": 20}
"""The forms of a request, in per cent: /chat/, the same as bare text, OpenAI's path streamed, and not streamed."""
WAIT_MS = 5000
"""A live chat is stopped within this time even on a busy machine: an abort that waits for it is answered `stopped`."""
TIMEOUT = aiohttp.ClientTimeout(total=30)
ABORTED = {"chat": b'"finish_reason":"abort"', "stream": b'"aborted":true'}
DONE = b"data: [DONE]\n\n"
TOO_LARGE = b"x" * (1024 * 1024 + 1)
MISTAKES = (
    ("/chat/", b"{", 422),
    ("/chat/", b'{"model": "mock"}', 422),
    ("/chat/", b'{"model": "mock", "messages": [{"role": "user", "content": "hello"}], "request_id": "a b"}', 422),
    ("/chat/", TOO_LARGE, 413),
    ("/abort/", b'{"request_id": "ID-nobody"}', 404),
    ("/abort/", b'{"request_id": 7}', 422),
)
ENDLESS = {"output_tokens": 100, "stall_at": 60, "stall_ms": 600_000}
"""A chat that outlives the leak checks: a connection that is left open must not close by itself."""


class Traffic:
    """Chats at a fixed rate, independent of the responses.

    `counts`: ended chats by kind; `forms`: those that finished, were aborted or lost their client, by form; `wrong`:
    unexpected responses.
    """

    def __init__(self, url: str, seed: int, id_prefix: str, *, sure_stops: bool) -> None:
        self.counts, self.forms, self.wrong = Counter[str](), Counter[str](), Counter[str]()
        self.started = 0
        self._url, self._prefix, self._sure_stops = url, id_prefix, sure_stops
        self._rng = random.Random(f"soak {seed}")

    async def run(self, seconds: float) -> None:
        """Start chats for this long; returns when the last has ended."""
        # Each request on its own connection, so that it may land on any worker.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        self._session = aiohttp.ClientSession(self._url, connector=connector, timeout=TIMEOUT)
        loop = asyncio.get_running_loop()
        async with self._session, asyncio.TaskGroup() as chats:
            began = loop.time()
            while (due := self.started / RATE_PER_S) < seconds:
                await asyncio.sleep(began + due - loop.time())
                chats.create_task(self._one(self._pick(KINDS), f"{self._prefix}-{self.started}"))
                self.started += 1

    async def _one(self, kind: str, request_id: str) -> None:
        try:
            await getattr(self, f"_{kind}")(request_id)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.wrong[f"{kind}: {type(error).__name__}"] += 1
        self.counts[kind] += 1

    def _pick(self, shares: dict[str, int]) -> str:
        return self._rng.choices(list(shares), list(shares.values()))[0]

    def _form(self) -> str:
        form = self._pick(FORMS)
        self.forms[form] += 1
        return form

    def _chat(self, request_id: str, form: str = "chat", **mock: Any) -> Any:
        options = {"ttft_ms": 20, "itl_ms": 20, "output_tokens": self._rng.randint(5, 100)} | mock
        marker = ",".join(f"{name}={value}" for name, value in options.items())
        body: dict[str, Any] = {"model": "mock", "messages": [{"role": "user", "content": f"go on [mock:{marker}]"}]}
        if form in ("stream", "whole"):
            body["stream"] = form == "stream"
            return self._session.post("/v1/chat/completions", json=body, headers={"X-Request-Id": request_id})
        headers = {"Accept": "text/plain"} if form == "text" else {}
        return self._session.post("/chat/", json=body | {"request_id": request_id}, headers=headers)

    def _expect(self, kind: str, found: object, *expected: object) -> None:
        if found not in expected:
            self.wrong[f"{kind}: {found} instead of {' or '.join(map(str, expected))}"] += 1

    async def _finished(self, request_id: str) -> None:
        form = self._form()
        async with self._chat(request_id, form) as answer:
            self._expect("finished", answer.status, 200)
            content = await answer.read()
        if form == "whole":
            self._expect("finished, whole", _finish_reason(content), "stop", "length")
        elif form == "text":
            self._expect("finished, bare text", bool(content) and b"data:" not in content, True)
        else:
            self._expect("finished, to its end", content.endswith(DONE), True)

    async def _aborted(self, request_id: str) -> None:
        form, wait_ms = self._form(), self._rng.choice([0, WAIT_MS])
        if form == "whole":
            await self._aborted_whole(request_id, wait_ms)
            return
        async with self._chat(request_id, form, **ENDLESS) as answer:
            await answer.content.readany()
            await asyncio.sleep(self._rng.uniform(0, 0.5))
            if await self._abort(request_id, wait_ms):
                content = await answer.read()  # raises TimeoutError when it does not end
                if form != "text":  # which cannot mark an abort
                    self._expect("aborted, marked so", ABORTED[form] in content, True)

    async def _aborted_whole(self, request_id: str, wait_ms: int) -> None:
        async def status() -> int:
            async with self._chat(request_id, "whole", **ENDLESS) as answer:
                await answer.read()
                return int(answer.status)

        reading = asyncio.create_task(status())
        try:
            await asyncio.sleep(self._rng.uniform(0.3, 0.8))
            if await self._abort(request_id, wait_ms, begun=False):
                self._expect("aborted, marked so", await reading, 499)
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _abort(self, request_id: str, wait_ms: int, *, begun: bool = True) -> bool:
        """Abort a chat; returns whether it must end. Unless it has `begun`, a 404 with `remembered_s` is right, too."""
        async with self._session.post("/abort/", json={"request_id": request_id, "wait_ms": wait_ms}) as stop:
            found = await stop.json()
        if stop.status == 404 and not self._sure_stops:
            return False  # another worker's memory; the hang-up ends this chat
        if stop.status == 404 and not begun and found.get("remembered_s"):
            return True
        self._expect("abort", stop.status, 200)
        if wait_ms:
            self._expect("abort that waits", found.get("status"), "stopped")
        return self._sure_stops

    async def _disconnected(self, request_id: str) -> None:
        silent = {"stall_at": 3} if self._rng.random() < 0.3 else {}
        form = self._form()
        whole = form == "whole"  # its first byte arrives with its last
        with contextlib.suppress(TimeoutError) if whole else contextlib.nullcontext():
            async with (
                asyncio.timeout(self._rng.uniform(0.1, 0.6) if whole else None),
                self._chat(request_id, form, **(ENDLESS | silent)) as answer,
            ):
                self._expect("disconnected", answer.status, "none" if whole else 200)
                await answer.content.readany()
                await asyncio.sleep(self._rng.uniform(0, 0.5))
                answer.close()

    async def _duplicate(self, request_id: str) -> None:
        async with self._chat(request_id, output_tokens=50) as first:
            await first.content.readany()
            async with self._chat(request_id) as second:
                # Two workers with memory stores do not share their ids.
                self._expect("duplicate", second.status, 409, *(() if self._sure_stops else (200,)))
                await second.read()
            await first.read()

    async def _bad(self, request_id: str) -> None:
        which = self._rng.randrange(len(MISTAKES) + 2)
        if which == len(MISTAKES):
            async with self._chat(request_id, fault="http_429") as answer:
                self._expect("bad: upstream 429", answer.status, 429)
        elif which > len(MISTAKES):
            async with self._chat(request_id, output_tokens=20, fault="cut") as answer:
                self._expect("bad: upstream cut", b"event: error" in await answer.read(), True)
        else:
            path, text, status = MISTAKES[which]
            content = text.replace(b"ID", request_id.encode())
            headers = {"Content-Type": "application/json"}
            async with self._session.post(path, data=io.BytesIO(content), headers=headers) as answer:
                self._expect(f"bad: {path} {content[:20]!r}", answer.status, status)


def _finish_reason(content: bytes) -> str | None:
    """The finish reason of a whole answer; None when it has none."""
    try:
        return str(json.loads(content)["choices"][0]["finish_reason"])
    except (ValueError, LookupError, TypeError):
        return None
