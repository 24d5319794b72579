"""`python -m bench storm`: mass stops, a retry storm, and owners that abuse the service beside others that do not."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from rich.console import Console

from bench.experiments.frame import provenance, write_json
from bench.experiments.relay.mass_stop import hold_and_end
from bench.experiments.relay.turns import Stage, stage
from bench.experiments.storm.clients import DEADLINE_S, Owner
from bench.experiments.storm.goals import goals_of
from bench.experiments.storm.retries import retry_storm
from bench.experiments.storm.traffic import SlowReaders, churn_for, steady
from bench.experiments.tables import Row, written
from bench.record.host import utc_now
from bench.system.garbage import without_collections
from bench.system.http import request_json
from bench.system.procs import Child

KEYS = ("abuser", "other")
MASS_WORKERS, MASS_ITL_MS = 2, 2000.0
SLOW_READERS, SLOW_ITL_MS = 2000, 1000.0
STARTS_PER_S = 60.0
"""CHAT_STARTS_PER_OWNER_S during the churn: more than the other owner's rate."""
KNEE_SHARE = 0.8
ENDED_POLL_S = 0.5
ABUSER_NICE = 10
"""The process of `churn` stands for another machine."""
WARM_UP_S = 1.0
Abuse = Callable[[Owner, str], contextlib.AbstractAsyncContextManager[Row]]


def measure_storms(
    console: Console, file: Path, *, rounds: int, seconds: float, streams: int, knee_per_s: float, seed: int
) -> list[Row]:
    """Measure all parts, print their goals and write `file`; returns the goals.

    `streams` are stopped at once; `seconds` is the duration of each phase of the abuses, of which each round has one
    without and one with abuse. Raises RelayError, StoreError or ChildError; `file` then stays as it was.
    """
    settings: Row = {"rounds": rounds, "seconds": seconds, "streams": streams, "knee_per_s": knee_per_s, "seed": seed}
    with stage(journal_rows=100_000) as on, _abuser_process() as pool, console.status("starting") as status:
        status.update(f"{streams:,} streams on {MASS_WORKERS} workers, stopped at once")
        mass = hold_and_end(on, streams=streams, itl_ms=MASS_ITL_MS, window_s=1.0, workers=MASS_WORKERS)
        status.update("retry storm")
        with _service(on, 2, {}) as (_, _, owner), without_collections():
            retry = uvloop.run(retry_storm(owner, on.store, knee_per_s * KNEE_SHARE, seed))
        samples: dict[str, list[Row]] = {}
        abuses: dict[str, tuple[Abuse, dict[str, str]]] = {
            "churn": (partial(_churning, pool, seconds), {"CHAT_STARTS_PER_OWNER_S": str(STARTS_PER_S)}),
            "slow-readers": (_slow_reading, {"MAX_CHATS_PER_OWNER": str(SLOW_READERS)}),
        }
        for name, (abuse, limits) in abuses.items():
            with _service(on, 1, limits) as (child, abuser, other):
                uvloop.run(steady(other, "warm-up", WARM_UP_S))
                samples[name] = []
                for number in range(rounds):
                    status.update(f"{name}, round {number + 1}/{rounds}")
                    with without_collections():
                        samples[name].append(uvloop.run(_round(on, (abuser, other), abuse, number, seconds)))
                    child.check()
    goals = goals_of(mass, retry, samples, starts_per_s=STARTS_PER_S)
    record = {"schema": 1, "date": utc_now(), "settings": settings, "goals": goals}
    write_json(file, record | {"mass": mass, "retry": retry, **samples, **provenance()})
    console.print(written("storm", goals=goals))
    return goals


async def _round(on: Stage, owners: tuple[Owner, Owner], abuse: Abuse, number: int, seconds: float) -> Row:
    """The other owner's chats without abuse and with it, in a changing order; `opened`: the abuser's upstreams."""
    abuser, other = owners
    found: Row = {}
    request_json(on.mock.url, "/__mock/journal", "DELETE")
    for phase in random.Random(f"storm {number}").sample(["alone", "abused"], 2):
        name = f"{phase}-{number}"
        async with contextlib.AsyncExitStack() as stack:
            result = await stack.enter_async_context(abuse(abuser, name)) if phase == "abused" else {}
            found[phase] = await steady(other, f"other-{name}", seconds)
        if phase == "abused":
            found |= result | {"opened": await _ended(on, f"{name}-")}
    return found


async def _ended(on: Stage, prefix: str) -> int:
    """Number of the upstream's streams with this prefix, when none is open: their end would disturb the next phase."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            rows = request_json(on.mock.url, f"/__mock/journal?prefix={prefix}")["rows"]
            if all(row["outcome"] != "open" for row in rows):
                return len(rows)
            await asyncio.sleep(ENDED_POLL_S)


@contextlib.asynccontextmanager
async def _churning(pool: Executor, seconds: float, owner: Owner, name: str) -> AsyncIterator[Row]:
    result: Row = {}
    churning = asyncio.wrap_future(pool.submit(churn_for, owner, name, seconds))
    yield result
    result |= await churning


@contextlib.asynccontextmanager
async def _slow_reading(owner: Owner, name: str) -> AsyncIterator[Row]:
    async with SlowReaders(owner, name, SLOW_READERS, SLOW_ITL_MS):
        yield {"readers": SLOW_READERS}


@contextlib.contextmanager
def _abuser_process() -> Iterator[Executor]:
    """A process that has started, and takes only the CPU time that the service and the others leave."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_yield_cpu) as pool:
        pool.submit(int).result()
        yield pool


def _yield_cpu() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    os.setsid()  # Linux shares the cores among sessions first, each with a priority of its own
    os.nice(ABUSER_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(f"{ABUSER_NICE}")


@contextlib.contextmanager
def _service(on: Stage, workers: int, settings: Mapping[str, str]) -> Iterator[tuple[Child, Owner, Owner]]:
    """Our service with redis-push, and two owners: one that abuses it, and another."""
    with on.contender("redis-push", workers, API_KEYS=",".join(KEYS), **settings) as child:
        abuser, other = (Owner(urlsplit(child.url).port or 0, key) for key in KEYS)
        yield child, abuser, other
