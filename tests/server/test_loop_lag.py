"""The worker's vital signs in the trace: event-loop lag, garbage collection; without a trace, the metrics' probe."""

import asyncio
import gc
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from backends import Options
from backends.deliveries import PollDelivery
from backends.memory import MemoryStore
from server.ops import loop_lag
from server.ops.loop_lag import monitor_loop
from server.ops.metrics import LAG_S, Sampler
from server.ops.trace import Tracer
from server.settings import Settings
from tests.server.harness import in_process
from tests.server.service import json_lines, wait_for_lines

FIELDS = ["kind", "pid", "from_ns", "to_ns", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "gc_max_ms"]


def sampler(open_upstreams: Callable[[], int] = int) -> Sampler:
    return Sampler(PollDelivery(MemoryStore(Options(), notify=False)), open_upstreams)


async def test_a_blocked_loop_and_a_collection_are_seen(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path)
    gc.freeze()  # what the rest of the process holds would be gone through, too
    gc.disable()  # the collection below is the only one
    async with monitor_loop(tracer, sampler()):
        await asyncio.sleep(0)  # the probe has set its timer
        time.sleep(0.1)  # noqa: ASYNC251 - this is what is to be found
        garbage = [[number] for number in range(200_000)]
        started_ns = time.monotonic_ns()
        gc.collect()
        collection_ms = (time.monotonic_ns() - started_ns) / 1e6
        del garbage
        await asyncio.sleep(0.02)
    gc.enable()
    gc.unfreeze()
    tracer.close()
    row = json_lines(tmp_path / f"{os.getpid()}.jsonl", kind="health")[
        0
    ]  # on a busy machine there may be a second later
    assert list(row) == FIELDS
    assert row["pid"] == os.getpid()
    assert row["lag_max_ms"] >= 80  # less the probe's own 10 ms, and what a timer may be early
    assert row["lag_max_ms"] <= (row["to_ns"] - row["from_ns"]) / 1e6
    assert collection_ms / 2 <= row["gc_max_ms"] <= collection_ms + 5


async def test_without_a_trace_only_the_metrics_probe_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    asleep = asyncio.sleep

    async def nap(delay: float) -> None:
        naps.append(delay)
        await asleep(0)
        if len(naps) > 3:
            await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "sleep", nap)
    callbacks = list(gc.callbacks)
    async with monitor_loop(Tracer(None), sampler()):
        while len(naps) < 3:
            await asleep(0)
        assert gc.callbacks == callbacks
    assert set(naps) == {0.05}


async def test_a_stall_of_twice_the_probe_is_seen_whenever_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is ours: a stall of 100 ms that begins after any part of a nap makes it late by 50 ms at least."""
    for already_slept_s in (0.0, 0.01, 0.025, 0.049):
        now_s, lags_s = [0.0], list[float]()

        async def nap(delay: float, already_slept_s: float = already_slept_s, now_s: list[float] = now_s) -> None:
            now_s[0] += max(delay, already_slept_s + 0.1)

        def add_lag(lag_s: float, lags_s: list[float] = lags_s) -> None:
            lags_s.append(lag_s)
            raise StopIteration

        monkeypatch.setattr(loop_lag, "monotonic", lambda now_s=now_s: now_s[0])
        monkeypatch.setattr(asyncio, "sleep", nap)
        with pytest.raises(RuntimeError):
            await loop_lag._probe(loop_lag.METRICS_PROBE_S, (add_lag,))
        assert lags_s[0] >= 0.0499


def test_the_metrics_show_the_worst_between_two_scrapes() -> None:
    one = sampler()

    def half_a_second(*lags_s: float) -> float:
        for lag_s in lags_s[:-1]:
            one.add_lag(lag_s)
        one._since_s -= 0.5
        one.add_lag(lags_s[-1])
        return float(LAG_S._value.get())

    assert half_a_second(0.25, 0.01, 0.02) == 0.25
    for _ in range(29):
        assert half_a_second(0.03) == 0.25
    assert half_a_second(0.02) == 0.03  # 15 s later


def test_the_log_tells_when_the_store_is_lost_and_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    delivery = PollDelivery(MemoryStore(Options(), notify=False))
    one = Sampler(delivery, int)

    def half_a_second() -> list[str]:
        caplog.clear()
        one._since_s -= 0.5
        one.add_lag(0.0)
        return [record.message.partition(":")[0] for record in caplog.records]

    with caplog.at_level("INFO", "stopwatch"):
        assert half_a_second() == []
        delivery._failed.set()
        assert half_a_second() == ["store lost"]
        assert half_a_second() == []
        delivery._failed.clear()
        assert half_a_second() == ["store back"]
        delivery.counters.lost += 1  # and back again before anybody has looked
        assert half_a_second() == ["store lost", "store back"]


async def test_a_worker_that_ends_takes_its_gauges_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    live, counted = tmp_path / f"gauge_livesum_{os.getpid()}.db", tmp_path / f"counter_{os.getpid()}.db"
    async with in_process(Settings()):
        live.touch()
        counted.touch()
    assert (live.exists(), counted.exists()) == (False, True)


async def test_a_worker_writes_once_a_second(service_url: str, trace_dir: Path) -> None:
    """Its last line, at its end: tests/server/test_ending.py."""
    async with httpx2.AsyncClient(base_url=service_url) as client:
        pid = (await client.get("/healthz")).json()["pid"]
    lines = await wait_for_lines(trace_dir / f"{pid}.jsonl", 3, kind="health")
    for earlier, later in itertools.pairwise(lines):
        assert earlier["to_ns"] == later["from_ns"]
        assert earlier["to_ns"] - earlier["from_ns"] >= 1e9
        assert 0 <= earlier["lag_p50_ms"] <= earlier["lag_p99_ms"] <= earlier["lag_max_ms"]
