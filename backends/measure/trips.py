"""Round trips to the store per step of a chat, counted by a proxy in front of the real server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any

import backends
from backends.base import Options
from backends.measure.counting import RoundTrips, counting
from backends.measure.owner import OWNER
from backends.signals import AbortSignal

CHATS = 20
STREAMS = (10, 500)
INTERVALS = 10
INTERVAL_MS = 100.0
WARM_UP_READS = 3  # the first reads also prepare a statement
Row = dict[str, Any]
Step = Callable[[str], Awaitable[object]]


async def trips(url: str, options: Options) -> AsyncIterator[Row]:
    """Yield one row per step: its executions (`times`), their round trips (`trips`), and those of the `first` one.

    The timer's rows instead have the number of live `streams`, the number of `reads`, their duration in `intervals`,
    and `closest`, the shortest time between two reads in intervals.
    """
    for delivery in ("push", "poll", "timer"):
        for row in await steps(_with(url, delivery), options):
            yield {"delivery": delivery, **row}
    for streams in STREAMS:
        timing = replace(options, interval_ms=INTERVAL_MS)
        yield {"delivery": "timer", "step": "read", **await timer_reads(_with(url, "timer"), timing, streams)}


def _with(url: str, delivery: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}+{delivery}://{rest}"


async def steps(url: str, options: Options) -> list[Row]:
    """Register, abort, read (where a chunk is preceded by one) and release."""
    rows: list[Row] = []
    quiet = replace(options, interval_ms=3.6e6)  # a timer's reads are counted by `timer_reads`
    names = [f"trips-{number}" for number in range(CHATS + 1)]
    watches: dict[str, AbstractAsyncContextManager[AbortSignal]] = {}
    signals: dict[str, AbortSignal] = {}

    async def count(step: str, counted: RoundTrips, do: Step) -> None:
        marks = [counted.count]
        for name in names:
            await do(name)
            marks.append(counted.count)
        rows.append({"step": step, "times": CHATS, "first": marks[1] - marks[0], "trips": marks[-1] - marks[1]})

    async def register(name: str) -> None:
        watches[name] = owner.watch(name, OWNER)
        signals[name] = await watches[name].__aenter__()

    async def read(name: str) -> None:
        poll = signals[name].poll
        assert poll is not None  # noqa: S101 - a poll has one
        await poll()

    # Two proxies: a worker also checks whether the aborts it accepted took effect, and that must not be counted.
    async with counting(url) as owners, counting(url) as stoppers, AsyncExitStack() as stack:
        owner = await stack.enter_async_context(backends.from_url(owners.url, quiet))
        await count("register", owners, register)
        if owner.name == "poll":
            await count("read", owners, read)
        stopper = await stack.enter_async_context(backends.from_url(stoppers.url, quiet))
        await count("abort", stoppers, lambda name: stopper.abort(name, OWNER))
        await count("release", owners, lambda name: watches[name].__aexit__(None, None, None))
    return rows


async def timer_reads(url: str, options: Options, streams: int) -> Row:
    """The reads of one worker with this number of live streams."""
    async with counting(url) as counted, backends.from_url(counted.url, options) as owner, AsyncExitStack() as chats:
        for number in range(streams):
            await chats.enter_async_context(owner.watch(f"timer-{number}", OWNER))
        first = counted.count + WARM_UP_READS
        await counted.until(first + INTERVALS + 1)
        stamps_s = counted.stamps_s[first : first + INTERVALS + 1]
        interval_s = options.interval_ms / 1000
        return {
            "streams": streams,
            "reads": INTERVALS,
            "intervals": (stamps_s[-1] - stamps_s[0]) / interval_s,
            "closest": min(later - earlier for earlier, later in itertools.pairwise(stamps_s)) / interval_s,
        }
