"""Tasks that last as long as their worker: run again when they fail, ended for sure, with a wait that grows."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

BACKOFF_FIRST_S = 0.05
BACKOFF_MOST_S = 0.3  # an abort accepted elsewhere meanwhile is late by as much: a chat may be over by then
CANCEL_EVERY_S = 0.2
LOG = logging.getLogger("backends")
Work = Callable[[], Coroutine[None, None, None]]


async def for_ever(work: Work, failed: Callable[[], object]) -> None:
    """Run it again when it ends with what nobody foresaw: a worker whose listener has died must not look well."""
    retries = 0
    while True:
        try:
            await work()
        except Exception:
            LOG.exception("an abort backend's task failed, and is run again")
            failed()
        await asyncio.sleep(backoff_s(retries))
        retries += 1


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: a driver that loses one cancellation must not keep a worker from leaving."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_EVERY_S)


async def first_of(*works: Awaitable[object]) -> None:
    """Return when the first of them does, or raise what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(tasks)
    errors = [task.exception() for task in tasks if not task.cancelled()]
    for error in filter(None, errors):
        raise error


def backoff_s(retries: int) -> float:
    """Seconds to wait: uniform in (0, min(cap, base * 2^retries)), "full jitter" in AWS's article on back-off."""
    most_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(retries, 10))
    return random.uniform(0, most_s)  # noqa: S311 - spread, not secrecy
