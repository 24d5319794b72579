"""The traffic of `storm`: the other owners' steady chats, an owner that churns, and clients that hardly read."""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from typing import Self

import uvloop

from bench.experiments.storm.clients import DEADLINE_S, Owner, chat_body, request
from bench.experiments.tables import Row
from bench.system.garbage import without_collections

STEADY_PER_S, STREAMED_S = 50.0, 0.3
STEADY_MOCK = {"ttft_ms": 50.0, "itl_ms": 20.0, "output_tokens": 500.0}
CHURN_LOOPS, CHURN_MOCK = 8, STEADY_MOCK | {"ttft_ms": 1.0}
RECEIVE_BYTES, READ_INTERVAL_S = 2048, 1.0
START_TOGETHER = 100
ENDLESS_TOKENS = 300
"""At a token a second more than a phase needs; the mock's journal drops rows from 8 million planned tokens on."""


async def steady(owner: Owner, name: str, seconds: float) -> Row:
    """Chats at a fixed rate, each stopped after a while: `ttft_ms` and `stop_ms` (abort sent to the stream's end) of
    each chat, and `failed`, the number of those that were refused or did not end as aborted.
    """
    ttft_ms, stop_ms, failed = list[float](), list[float](), 0

    async def one(request_id: str) -> None:
        nonlocal failed
        chat = await owner.chat(request_id, **STEADY_MOCK)
        await asyncio.wait([chat.text], timeout=DEADLINE_S)
        if chat.status != 200 or not chat.text.done():
            failed += 1
            chat.transport.abort()
            return
        ttft_ms.append((chat.text.result() - chat.sent_s) * 1000)
        await asyncio.sleep(STREAMED_S)
        sent_s = time.monotonic()
        await owner.abort(request_id)
        await asyncio.wait([chat.ended], timeout=DEADLINE_S)
        failed += not chat.aborted
        stop_ms.append((chat.ended.result() - sent_s) * 1000)

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as chats:
        for number in range(round(seconds * STEADY_PER_S)):
            await asyncio.sleep(began_s + number / STEADY_PER_S - time.monotonic())
            chats.create_task(one(f"{name}-{number}"))
    return {"ttft_ms": ttft_ms, "stop_ms": stop_ms, "failed": failed}


async def churn(owner: Owner, name: str) -> Row:
    """Start a chat and stop it, in CHURN_LOOPS loops without a pause, until cancelled.

    Returns `statuses` (starts by HTTP status), `refusal_ms` (request to 429) and `lasted_s`.
    """
    statuses, refusal_ms, began_s = Counter[str](), list[float](), time.monotonic()

    async def loop(number: int) -> None:
        turn = 0
        while True:
            turn += 1
            request_id = f"{name}-{number}-{turn}"
            chat = await owner.chat(request_id, **CHURN_MOCK)
            try:
                head_s = await chat.head
                statuses[str(chat.status)] += 1
                if chat.status == 429:
                    refusal_ms.append((head_s - chat.sent_s) * 1000)
                else:
                    await owner.abort(request_id)
                await chat.ended
            finally:
                chat.transport.abort()

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*map(loop, range(CHURN_LOOPS)))
    return {"statuses": statuses, "refusal_ms": refusal_ms, "lasted_s": time.monotonic() - began_s}


def churn_for(owner: Owner, name: str, seconds: float) -> Row:
    """`churn` for this time, for a process of its own: one that shared the others' event loop would delay their stamps.

    The result is that of `churn`.
    """

    async def limited() -> Row:
        churning = asyncio.create_task(churn(owner, name))
        await asyncio.sleep(seconds)
        churning.cancel()
        return await churning

    with without_collections():
        return uvloop.run(limited())


class SlowReaders:
    """Clients that read one byte a second of an endless answer; a context manager."""

    def __init__(self, owner: Owner, name: str, count: int, itl_ms: float) -> None:
        self._owner, self._name, self._count, self._itl_ms = owner, name, count, itl_ms
        self._stack = contextlib.ExitStack()
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in range(self._count):
            one = self._stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            one.setblocking(False)
            body = chat_body(f"{self._name}-{number}", ttft_ms=50, itl_ms=self._itl_ms, output_tokens=ENDLESS_TOKENS)
            await loop.sock_connect(one, ("127.0.0.1", self._owner.port))
            await loop.sock_sendall(one, request("/chat/", body, self._owner.key))
            self._sockets.append(one)
            if (
                len(self._sockets) % START_TOGETHER == 0 or len(self._sockets) == self._count
            ):  # 2,000 starts at once would be another kind of abuse
                for started in self._sockets[-START_TOGETHER:]:
                    await asyncio.wait_for(loop.sock_recv(started, 1), DEADLINE_S)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        self._stack.close()

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(READ_INTERVAL_S)
            for one in self._sockets:
                with contextlib.suppress(BlockingIOError):
                    one.recv(1)
