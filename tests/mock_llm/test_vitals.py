"""What the mock says of itself: its loop's lag and its collector's pauses, since the journal was emptied."""

import asyncio
import gc
import json
import time
from itertools import pairwise
from typing import Any
from urllib.request import urlopen

import pytest

from mock_llm import vitals as module
from mock_llm.vitals import Vitals
from tests.mock_llm.conftest import END, Mock, chat_bytes, read_until


def health(mock: Mock) -> dict[str, Any]:
    with urlopen(f"{mock.url}/__mock/health", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


async def probes(vitals: Vitals, count: int) -> dict[str, Any]:
    said = vitals.as_json()
    while said["probes"] < count:
        await asyncio.sleep(0)  # the probe has its turns between ours
        said = vitals.as_json()
    return said


async def test_a_loop_that_was_held_up_is_seen_and_forgotten_after_a_reset() -> None:
    vitals = Vitals(asyncio.get_running_loop())
    await probes(vitals, 1)
    held_ns = time.monotonic_ns()
    while time.monotonic_ns() - held_ns < 200e6:
        pass
    said = await probes(vitals, 3)
    assert said["lag_max_ms"] >= 190, "the probe fell due at most 10 ms after the loop was held up"
    assert said["lag_p99_ms"] == said["lag_max_ms"], "of three probes"
    assert said["since_ns"] < held_ns < said["now_ns"]
    vitals.reset()
    assert (vitals.as_json()["probes"], vitals.as_json()["lag_p50_ms"]) == (0, None)
    said = await probes(vitals, 3)
    assert said["lag_max_ms"] < 190
    assert said["since_ns"] > held_ns


async def test_each_second_has_its_own_signs_and_the_last_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECOND_NS", 50_000_000)
    monkeypatch.setattr(module, "_MOST_SECONDS", 8)
    vitals = Vitals(asyncio.get_running_loop())

    async def until(end_ns: int) -> list[dict[str, Any]]:
        """Once the second that is not over yet began after this moment."""
        seconds: list[dict[str, Any]] = vitals.as_json()["seconds"]
        while seconds[-1]["from_ns"] < end_ns:
            await asyncio.sleep(0)
            seconds = vitals.as_json()["seconds"]
        return seconds

    await until(time.monotonic_ns() + 60_000_000)
    held_ns = time.monotonic_ns()
    while time.monotonic_ns() - held_ns < 200e6:
        pass
    seconds = await until(time.monotonic_ns())
    assert len(seconds) >= 3
    for earlier, later in pairwise(seconds):
        assert earlier["from_ns"] < earlier["to_ns"] <= later["from_ns"]
    (held,) = (each for each in seconds if each["from_ns"] <= held_ns < each["to_ns"])
    assert held["lag_max_ms"] >= 190
    assert held["lag_p50_ms"] <= held["lag_p99_ms"] <= held["lag_max_ms"]
    assert held["lag_max_ms"] == pytest.approx(vitals.as_json()["lag_max_ms"], abs=0.02), "the worst of them"
    assert held["gc_max_ms"] >= 0
    seconds = await until(time.monotonic_ns() + 500_000_000)
    assert len(seconds) == 8
    assert seconds[0]["from_ns"] > held_ns, "older ones are gone"
    vitals.reset()
    (begun,) = vitals.as_json()["seconds"]
    assert begun["from_ns"] > seconds[-1]["from_ns"]
    assert (begun["lag_p50_ms"], begun["lag_max_ms"], begun["gc_max_ms"]) == (None, None, 0)


async def test_one_lag_is_every_percentile_of_its_second() -> None:
    """Interpolating between two equal values may be off by the last bit, in either direction."""
    vitals = Vitals(asyncio.get_running_loop())
    for lag_ns in range(190_000_000, 190_000_400):
        vitals._second_lags_ms = [lag_ns / 1e6]
        second = vitals._second()
        assert second["lag_p50_ms"] == second["lag_p99_ms"] == second["lag_max_ms"] == lag_ns / 1e6


async def test_percentiles_are_nearest_ranks() -> None:
    vitals = Vitals(asyncio.get_running_loop())
    vitals._lags.update(dict.fromkeys(range(1, 101), 1))  # 0.01, 0.02 ... 1.00 ms
    said = vitals.as_json()
    assert (said["lag_p50_ms"], said["lag_p99_ms"], said["lag_max_ms"]) == pytest.approx((0.5, 0.99, 1.0))


async def test_a_collection_is_a_pause() -> None:
    vitals = Vitals(asyncio.get_running_loop())
    gc.collect()
    vitals.reset()
    assert vitals.as_json()["gc_max_ms"] == 0
    gc.disable()  # or making the rubbish is a collection of its own, and now and then a longer one
    try:
        rubbish = [[number] for number in range(200_000)]
        started_ns = time.monotonic_ns()
        gc.collect()
        took_ms = (time.monotonic_ns() - started_ns) / 1e6
    finally:
        gc.enable()
    assert 0.5 * took_ms < vitals.as_json()["gc_max_ms"] <= took_ms
    del rubbish


def test_the_mock_shows_its_health_and_starts_anew_with_the_journal(mock: Mock) -> None:
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
