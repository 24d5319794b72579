"""Wolf and sleep, simulated as the gate works: a family of metrics, blocks added one by one, a look after each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bench.analysis.reading import CaseKey
from bench.gate.family import BlockValues, Finding, decide_all, more_needed
from bench.gate.margins import DEFAULTS
from tests.bench.fake_gate import arm

RUNS = 300
FIRST, LAST = 5, 10
SPOILT = 0.03
"""Of each side's blocks; so in one of seventeen pairs one side took twice as long as the other by bad luck."""
LEVELS = {"upstream_stop_ms": 2.0, "abort_ack_ms": 1.5, "ttft_ms": 103.0, "itl_ms": 20.0, "server_cpu_us_per_token": 65}
CASES = [
    CaseKey(strategy, scenario, 2, 50)
    for strategy in ("redis-push", "postgres-push", "redis-timer")
    for scenario in ("flowing", "stalled")
]
STEADIER = {"ttft_ms": 0.1, "itl_ms": 0.05}
"""Metrics that the mock's pace sets: their share of the others' noise, as seen in real runs."""
Values = dict[tuple[CaseKey, str], dict[int, float]]


def gate(
    rng: np.random.Generator, noise: float, outliers: float, plus_ms: float = 0.0, *, steadier: bool = False
) -> list[Finding]:
    """One gate run of 30 comparisons; every block swings by 50 % at random, on both sides alike."""
    base: Values = {}
    head: Values = {}
    for case in CASES:
        for metric, level in LEVELS.items():
            swing = rng.lognormal(0.0, 0.4, LAST)
            own = noise * (STEADIER.get(metric, 1.0) if steadier else 1.0)
            changed = plus_ms if (case, metric) == (CASES[0], "upstream_stop_ms") else 0.0
            base[case, metric] = dict(enumerate(arm(rng, level, LAST, own, outliers) * swing))
            head[case, metric] = dict(enumerate(arm(rng, level + changed, LAST, own, outliers) * swing))
    found: list[Finding] = []
    for blocks in range(FIRST, LAST + 1):
        found = decide_all(_first(base, blocks), _first(head, blocks), DEFAULTS)
        if not more_needed(each.decision for each in found):
            break
    return found


@pytest.mark.parametrize(("noise", "outliers"), [(0.05, 0.0), (0.05, SPOILT), (0.20, 0.0), (0.20, SPOILT)])
def test_head_against_itself_is_hardly_ever_worse(noise: float, outliers: float) -> None:
    """Of 300 gate runs with up to six looks at 30 metrics each; the promise is 5 in 100."""
    rng = np.random.default_rng(11)
    alarms = sum(any(each.decision.verdict == "worse" for each in gate(rng, noise, outliers)) for _run in range(RUNS))
    assert alarms <= 0.03 * RUNS


@pytest.mark.parametrize(("noise", "outliers"), [(0.05, SPOILT), (0.20, 0.0), (0.20, SPOILT)])
def test_five_milliseconds_are_found_and_nothing_else(noise: float, outliers: float) -> None:
    rng = np.random.default_rng(12)
    found, wrong = 0, 0
    for _run in range(RUNS):
        worse = {each[:2] for each in gate(rng, noise, outliers, plus_ms=5.0) if each.decision.verdict == "worse"}
        found += (CASES[0], "upstream_stop_ms") in worse
        wrong += bool(worse - {(CASES[0], "upstream_stop_ms")})
    assert found >= 0.99 * RUNS
    assert wrong <= 0.03 * RUNS


def test_a_quiet_machine_ends_in_equivalent() -> None:
    """A gate that is always undecided would be switched off too."""
    rng = np.random.default_rng(13)
    runs = [gate(rng, 0.05, 0.0, steadier=True) for _run in range(60)]
    counts = Counter(all(each.decision.verdict == "equivalent" for each in found) for found in runs)
    assert counts[True] >= 54
    assert np.median([found[0].decision.blocks for found in runs]) <= 7


def _first(values: BlockValues, blocks: int) -> BlockValues:
    return {key: {block: value for block, value in each.items() if block < blocks} for key, each in values.items()}
