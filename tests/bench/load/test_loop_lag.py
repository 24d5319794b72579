"""What a load process says of itself: over the whole load as before, and for each second of it."""

from __future__ import annotations

import os
from itertools import pairwise
from time import monotonic_ns

import gevent
import pytest

from bench.load import loop_lag
from bench.load.loop_lag import LoopProbe


def seconds_more(probe: LoopProbe, count: int) -> None:
    """Return when so many more seconds are over."""
    until = len(probe.health().seconds) + count
    while len(probe.health().seconds) < until:
        gevent.sleep(0)


def test_a_hub_that_was_held_up_shows_in_that_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "SECOND_NS", 50_000_000)
    with LoopProbe() as probe:
        seconds_more(probe, 1)
        held_ns = monotonic_ns()
        while monotonic_ns() - held_ns < 200e6:
            pass
        seconds_more(probe, 2)
    seen = probe.health()
    assert seen.pid == os.getpid()
    seconds = seen.seconds
    assert len(seconds) >= 4, "those that are over, and what was left at the end"
    for earlier, later in pairwise(seconds):
        assert earlier.from_ns < earlier.to_ns == later.from_ns
    (held,) = (each for each in seconds if each.from_ns <= held_ns < each.to_ns)
    assert held.lag_max_ms is not None
    assert held.lag_max_ms == seen.lag_max_ms
    assert held.lag_max_ms >= 190
    assert [each.lag_max_ms for each in seconds].count(held.lag_max_ms) == 1, "of that second alone"
    assert seen.gc_max_ms == max(each.gc_max_ms or 0.0 for each in seconds)


def test_equal_lags_have_equal_percentiles() -> None:
    for lag_ns in range(190_000_000, 190_000_400):
        signs = loop_lag._lags([lag_ns / 1e6] * 2, [])
        assert signs["lag_p50_ms"] == signs["lag_p99_ms"] == signs["lag_max_ms"] == lag_ns / 1e6


def test_the_last_seconds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "SECOND_NS", 20_000_000)
    with LoopProbe() as probe:
        seconds_more(probe, 4)
    every = probe.health().seconds
    monkeypatch.setattr(loop_lag, "MOST_SECONDS", 3)
    assert probe.health().seconds == every[-3:]
    assert len(every) >= 5
