"""The worker's vital signs in the trace: event-loop lag, garbage collection; without a trace, the metrics' probe."""

import asyncio
import gc
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from backends import Options
from backends.deliveries import PollDelivery
from backends.memory import MemoryStore
from server.metrics import LAG_S, Sampler
from server.trace import Tracer
from server.vitals import vital_signs
from tests.processes import running

FIELDS = ["kind", "pid", "from_ns", "to_ns", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "gc_max_ms"]


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [line for line in lines if line["kind"] == "health"]


def sampler() -> Sampler:
    return Sampler(PollDelivery(MemoryStore(Options(), notify=False)))


async def test_a_blocked_loop_and_a_collection_are_seen(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path)
    async with vital_signs(tracer, sampler()):
        await asyncio.sleep(0)  # the probe has set its timer
        time.sleep(0.1)  # noqa: ASYNC251 - this is what is to be found
        garbage = [[number] for number in range(200_000)]
        started_ns = time.monotonic_ns()
        gc.collect()
        collection_ms = (time.monotonic_ns() - started_ns) / 1e6
        del garbage
        await asyncio.sleep(0.02)
    tracer.close()
    (row,) = rows(tmp_path)
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
    async with vital_signs(Tracer(None), sampler()):
        while len(naps) < 3:
            await asleep(0)
        assert gc.callbacks == callbacks
    assert set(naps) == {0.5}


def test_the_metrics_show_the_worst_of_their_half_second() -> None:
    one = sampler()
    one.take(0.25)
    one.take(0.01)
    one._since_s -= 0.5
    one.take(0.02)
    assert LAG_S._value.get() == 0.25
    one._since_s -= 0.5
    one.take(0.03)
    assert LAG_S._value.get() == 0.03


def test_a_worker_writes_once_a_second_and_at_its_end(upstream_url: str, tmp_path: Path) -> None:
    deadline_s = time.monotonic() + 30
    with running(
        *("server", "--port", "0", "--workers", "1"), OPENAI_BASE_URL=f"{upstream_url}/v1", TRACE_DIR=str(tmp_path)
    ):
        while len(rows(tmp_path)) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        ending_ns = time.monotonic_ns()
    *whole, last = rows(tmp_path)
    assert len(whole) >= 2
    assert last["to_ns"] > ending_ns
    for earlier, later in zip(whole, [*whole[1:], last], strict=True):
        assert earlier["to_ns"] == later["from_ns"]
        assert earlier["to_ns"] - earlier["from_ns"] >= 1e9
        assert 0 <= earlier["lag_p50_ms"] <= earlier["lag_p99_ms"] <= earlier["lag_max_ms"]
