"""Run tasks for the lifetime of a worker: restart after errors, reliable cancellation, back-off."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

BACKOFF_BASE_S = 0.05
BACKOFF_LIMIT_S = 0.3  # an abort accepted meanwhile is delayed by up to this; a longer delay may outlast the chat
CANCEL_INTERVAL_S = 0.2
LOG = logging.getLogger("backends")
TaskFactory = Callable[[], Coroutine[None, None, None]]


async def run_forever(task: TaskFactory, on_error: Callable[[], object]) -> None:
    """Restart the task after an unexpected exception, so that a worker with a crashed listener reports not ready."""
    retries = 0
    while True:
        try:
            await task()
        except Exception:
            LOG.exception("unexpected error in a task of the abort backend; the task is restarted")
            on_error()
        await asyncio.sleep(backoff_s(retries))
        retries += 1


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel repeatedly until all tasks have ended: a driver may swallow one cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_INTERVAL_S)


async def first_of(*awaitables: Awaitable[object]) -> None:
    """Return when the first one does, or raise what it raises; cancel the others."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(tasks)
    errors = [task.exception() for task in tasks if not task.cancelled()]
    for error in filter(None, errors):
        raise error


def backoff_s(retries: int) -> float:
    """Seconds to wait: uniform in (0, min(limit, base * 2^retries)), "full jitter" in AWS's article on back-off."""
    longest_s = min(BACKOFF_LIMIT_S, BACKOFF_BASE_S * 2 ** min(retries, 10))
    return random.uniform(0, longest_s)  # noqa: S311 - spread, not secrecy
