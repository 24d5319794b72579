"""The retry storm: the store is slow, so every client presses Stop again and again."""

import asyncio
import random
import time

from bench.experiments.storm.clients import DEADLINE_S, Owner
from bench.experiments.tables import Row
from bench.system.stores import Store

PRESSES_S = (0.0, 0.3, 1.0, 3.0)
"""A client presses at these times after its first press, until its answer has ended."""
BEFORE_S, SLOW_S, AFTER_S = 5.0, 2.0, 12.0
STREAMED_S = (0.2, 1.0)
MOCK = {"ttft_ms": 50.0, "itl_ms": 20.0, "output_tokens": 1500.0}


async def retry_storm(owner: Owner, store: Store, rate_per_s: float, seed: int) -> Row:
    """Chats at this rate; after BEFORE_S the store answers nothing for SLOW_S.

    Returns `stops`, a pair per chat: its first press (s after the end of the slow time) and the time from it to the
    stream's end (ms); and the counts `chats`, `presses`, `refused` (chats) and `missed` (not ended as aborted).
    """
    rng = random.Random(f"retries {seed}")
    stops: list[tuple[float, float]] = []
    counts = {"chats": 0, "presses": 0, "refused": 0, "missed": 0}
    began_s = time.monotonic()
    slow_until_s = began_s + BEFORE_S + SLOW_S

    async def one(request_id: str) -> None:
        chat = await owner.chat(request_id, **MOCK)
        await asyncio.wait([chat.text], timeout=DEADLINE_S)
        counts["chats"] += 1
        if chat.status != 200:
            counts["refused"] += 1
            return
        await asyncio.sleep(rng.uniform(*STREAMED_S))
        pressed_s = time.monotonic()
        presses = [asyncio.create_task(press(request_id, after_s, chat.ended)) for after_s in PRESSES_S]
        await asyncio.wait([chat.ended], timeout=DEADLINE_S)
        counts["missed"] += not chat.aborted
        ended_s = chat.ended.result() if chat.ended.done() else time.monotonic()
        stops.append((pressed_s - slow_until_s, (ended_s - pressed_s) * 1000))
        chat.transport.abort()
        await asyncio.gather(*presses)

    async def press(request_id: str, after_s: float, ended: asyncio.Future[float]) -> None:
        if after_s:
            await asyncio.wait([ended], timeout=after_s)
        if not ended.done():
            counts["presses"] += 1
            await owner.abort(request_id)

    async with asyncio.TaskGroup() as chats:
        asyncio.get_running_loop().call_later(BEFORE_S, store.pause, SLOW_S)
        for number in range(round((BEFORE_S + SLOW_S + AFTER_S) * rate_per_s)):
            await asyncio.sleep(began_s + number / rate_per_s - time.monotonic())
            chats.create_task(one(f"retry-{number}"))
    return {"stops": stops, **counts}
