"""/__mock/health: event-loop lag and garbage-collection pauses since the journal was cleared."""

import asyncio
import gc
import json
import time
from itertools import pairwise
from typing import Any
from urllib.request import urlopen

import pytest

from mock_llm import loop_monitor
from mock_llm.loop_monitor import LoopMonitor
from tests.mock_llm.conftest import END, Mock, chat_bytes, read_until


def health(mock: Mock) -> dict[str, Any]:
    with urlopen(f"{mock.url}/__mock/health", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


async def probes(monitor: LoopMonitor, count: int) -> dict[str, Any]:
    values = monitor.as_json()
    while values["probes"] < count:
        await asyncio.sleep(0)  # lets the probe run
        values = monitor.as_json()
    return values


async def test_a_blocked_loop_is_measured_until_a_reset() -> None:
    monitor = LoopMonitor(asyncio.get_running_loop())
    await probes(monitor, 1)
    blocked_ns = time.monotonic_ns()
    while time.monotonic_ns() - blocked_ns < 200e6:
        pass
    values = await probes(monitor, 3)
    assert values["lag_max_ms"] >= 190, "the probe is due at most 10 ms after the loop was blocked"
    assert values["lag_p99_ms"] == values["lag_max_ms"], "of three probes"
    assert values["since_ns"] < blocked_ns < values["now_ns"]
    monitor.reset()
    assert (monitor.as_json()["probes"], monitor.as_json()["lag_p50_ms"]) == (0, None)
    values = await probes(monitor, 3)
    assert values["lag_max_ms"] < 190
    assert values["since_ns"] > blocked_ns


async def test_each_second_has_its_own_values_and_old_seconds_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_monitor, "_SECOND_NS", 50_000_000)
    monkeypatch.setattr(loop_monitor, "_MAX_SECONDS", 8)
    monitor = LoopMonitor(asyncio.get_running_loop())

    async def until(end_ns: int) -> list[dict[str, Any]]:
        """Return the seconds once the current one began after this time."""
        seconds: list[dict[str, Any]] = monitor.as_json()["seconds"]
        while seconds[-1]["from_ns"] < end_ns:
            await asyncio.sleep(0)
            seconds = monitor.as_json()["seconds"]
        return seconds

    await until(time.monotonic_ns() + 60_000_000)
    blocked_ns = time.monotonic_ns()
    while time.monotonic_ns() - blocked_ns < 200e6:
        pass
    seconds = await until(time.monotonic_ns())
    assert len(seconds) >= 3
    for earlier, later in pairwise(seconds):
        assert earlier["from_ns"] < earlier["to_ns"] <= later["from_ns"]
    (blocked,) = (each for each in seconds if each["from_ns"] <= blocked_ns < each["to_ns"])
    assert blocked["lag_max_ms"] >= 190
    assert blocked["lag_p50_ms"] <= blocked["lag_p99_ms"] <= blocked["lag_max_ms"]
    assert blocked["lag_max_ms"] == pytest.approx(monitor.as_json()["lag_max_ms"], abs=0.02), "the worst of them"
    assert blocked["gc_max_ms"] >= 0
    seconds = await until(time.monotonic_ns() + 500_000_000)
    assert len(seconds) == 8
    assert seconds[0]["from_ns"] > blocked_ns, "older ones are dropped"
    monitor.reset()
    (begun,) = monitor.as_json()["seconds"]
    assert begun["from_ns"] > seconds[-1]["from_ns"]
    assert (begun["lag_p50_ms"], begun["lag_max_ms"], begun["gc_max_ms"]) == (None, None, 0)


async def test_a_single_lag_is_every_percentile_of_its_second() -> None:
    """Interpolating between two equal values may be off by the last bit, in either direction."""
    monitor = LoopMonitor(asyncio.get_running_loop())
    for lag_ns in range(190_000_000, 190_000_400):
        monitor._second_lags_ms = [lag_ns / 1e6]
        second = monitor._second()
        assert second["lag_p50_ms"] == second["lag_p99_ms"] == second["lag_max_ms"] == lag_ns / 1e6


async def test_percentiles_are_nearest_ranks() -> None:
    monitor = LoopMonitor(asyncio.get_running_loop())
    monitor._lags.update(dict.fromkeys(range(1, 101), 1))  # 0.01, 0.02 ... 1.00 ms
    values = monitor.as_json()
    assert (values["lag_p50_ms"], values["lag_p99_ms"], values["lag_max_ms"]) == pytest.approx((0.5, 0.99, 1.0))


async def test_a_garbage_collection_is_a_pause() -> None:
    monitor = LoopMonitor(asyncio.get_running_loop())
    gc.collect()
    monitor.reset()
    assert monitor.as_json()["gc_max_ms"] == 0
    gc.disable()  # else creating the garbage may trigger another, longer collection
    try:
        garbage = [[number] for number in range(200_000)]
        started_ns = time.monotonic_ns()
        gc.collect()
        took_ms = (time.monotonic_ns() - started_ns) / 1e6
    finally:
        gc.enable()
    assert 0.5 * took_ms < monitor.as_json()["gc_max_ms"] <= took_ms
    del garbage


def test_health_is_reset_with_the_journal(mock: Mock) -> None:
    with mock.connect() as raw:  # 60 ms: some probes at least
        raw.sendall(chat_bytes("x-mock-ttft-ms: 60"))
        read_until(raw, END)
    before = health(mock)
    assert before["pid"] == mock.process.pid
    assert before["probes"] >= 3
    assert 0 <= before["lag_p50_ms"] <= before["lag_p99_ms"] <= before["lag_max_ms"]
    assert before["cpu_ns"] > 0
    assert before["seconds"][-1]["lag_p99_ms"] >= 0
    assert mock.clear_journal() == 204
    after = health(mock)
    assert before["now_ns"] < after["since_ns"] <= after["now_ns"]
    assert all(each["from_ns"] >= after["since_ns"] for each in after["seconds"])
    assert after["cpu_ns"] >= before["cpu_ns"], "CPU time is the process's, as at /__mock/clock"
