"""False alarms and missed changes, simulated as the gate works: a family of metrics, a look after each block.

The simulation computes all runs at once in numpy; that it follows the gate's rule is checked against the gate itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.analysis.blocks import BlockValues
from bench.analysis.reading import CaseKey
from bench.gate.family import decide_all, more_needed
from bench.gate.margins import DEFAULTS
from bench.gate.verdict import ALPHA, EQUIVALENCE_ALPHA, POWER, VERDICTS, Margin, classify
from bench.stats.paired import detectable_errors, holm_columns, p_above, p_beyond, walsh_averages

RUNS = 1000
FIRST, LAST = 5, 10
SPOILT = 0.03
"""Share of each side's blocks that take twice as long; so in one of seventeen pairs one side does."""
LEVELS = {"upstream_stop_ms": 2.0, "abort_ack_ms": 1.5, "ttft_ms": 103.0, "itl_ms": 20.0, "server_cpu_us_per_token": 65}
CASES = [
    CaseKey(strategy, scenario, 2, 50)
    for scenario in ("flowing", "stalled")
    for strategy in ("redis-push", "postgres-push", "redis-timer")
]
QUESTIONS = [(case, metric) for case in CASES for metric in LEVELS]
CHANGED = QUESTIONS.index((CASES[0], "upstream_stop_ms"))
STEADIER = {"ttft_ms": 0.1, "itl_ms": 0.05}
"""Metrics that the mock's pace sets: their share of the others' noise, as seen in real runs."""
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def blocks_of(
    runs: int, seed: int, noise: float, outliers: float, plus_ms: float = 0.0, *, steadier: bool = False
) -> tuple[Floats, Floats]:
    """Base and head of `runs` gate runs of 30 questions; every block swings by 50 % at random, on both sides alike."""
    rng = np.random.default_rng(seed)
    shape = (runs, len(QUESTIONS), LAST)
    level = np.array([LEVELS[metric] for _case, metric in QUESTIONS])[:, None]
    own = noise * np.array([STEADIER.get(metric, 1.0) if steadier else 1.0 for _case, metric in QUESTIONS])[:, None]
    swing = rng.lognormal(0.0, 0.4, shape)
    base, head = (rng.lognormal(0.0, own, shape) * np.where(rng.random(shape) < outliers, 2.0, 1.0) for _side in "ab")
    changed = level + np.where(np.arange(len(QUESTIONS)) == CHANGED, plus_ms, 0.0)[:, None]
    return level * base * swing, changed * head * swing


def look(base: Floats, head: Floats) -> Codes:
    """The verdict of every question of every run over these blocks, as a place in VERDICTS."""
    blocks = base.shape[-1]
    share, slack = (
        np.array([getattr(DEFAULTS[metric], name) for _, metric in QUESTIONS]) for name in ("share", "slack")
    )
    apart = np.log(head + slack[:, None]) - np.log(base + slack[:, None])
    mean, error = apart.mean(-1), apart.std(-1, ddof=1) / np.sqrt(blocks)
    middle = np.median(base, axis=-1)
    limit = np.log((middle * (1 + share) + 2 * slack) / (middle + slack))
    p_worse, p_better = (holm_columns(p_above(sign * mean, error, blocks - 1).T).T for sign in (1, -1))
    p_values = (p_worse, p_better, p_beyond(mean, error, blocks - 1, limit))
    detectable = detectable_errors(blocks - 1, ALPHA, POWER) * error
    return classify(np.median(walsh_averages(apart), axis=-1), p_values, detectable, limit)


def gate(base: Floats, head: Floats) -> tuple[Codes, Codes]:
    """The last verdicts of every run, and its blocks: it ends when one is worse, or none is inconclusive."""
    found, blocks = look(base[..., :FIRST], head[..., :FIRST]), np.full(len(base), FIRST)
    for number in range(FIRST + 1, LAST + 1):
        going = (found != 2).all(-1) & (found == 0).any(-1)
        found[going] = look(base[going, :, :number], head[going, :, :number])
        blocks[going] = number
    return found, blocks


@pytest.mark.parametrize(("noise", "plus_ms"), [(0.05, 0.0), (0.20, 5.0)])
def test_the_simulation_is_the_gates_rule(noise: float, plus_ms: float) -> None:
    base, head = blocks_of(12, 10, noise, SPOILT, plus_ms)
    verdicts, ended = gate(base, head)

    def first(values: Floats, blocks: int) -> BlockValues:
        return {key: dict(enumerate(row[:blocks].tolist())) for key, row in zip(QUESTIONS, values, strict=True)}

    for old, new, expected, last in zip(base, head, verdicts, ended, strict=True):
        for blocks in range(FIRST, LAST + 1):
            found = decide_all(first(old, blocks), first(new, blocks), DEFAULTS)
            if not more_needed(each.decision for each in found):
                break
        assert blocks == last
        by_question = {each[:2]: each.decision.verdict for each in found}
        assert [by_question[key] for key in QUESTIONS] == [VERDICTS[code] for code in expected]


@pytest.mark.parametrize(("noise", "outliers"), [(0.05, 0.0), (0.05, SPOILT), (0.20, 0.0), (0.20, SPOILT)])
def test_head_against_itself_is_hardly_ever_worse(noise: float, outliers: float) -> None:
    """Of 1,000 gate runs with up to six looks at 30 metrics each; the promise is 5 in 100."""
    found, _blocks = gate(*blocks_of(RUNS, 11, noise, outliers))
    assert (found == 2).any(-1).mean() <= 0.03


@pytest.mark.parametrize(("noise", "outliers"), [(0.05, SPOILT), (0.20, 0.0), (0.20, SPOILT)])
def test_five_milliseconds_are_found_and_nothing_else(noise: float, outliers: float) -> None:
    found, _blocks = gate(*blocks_of(RUNS, 12, noise, outliers, plus_ms=5.0))
    worse = found == 2
    assert worse[:, CHANGED].mean() >= 0.99
    assert np.delete(worse, CHANGED, axis=1).any(-1).mean() <= 0.03


@pytest.mark.parametrize("freedom", [3, 1000])
def test_a_change_as_large_as_the_margin_is_hardly_ever_equivalent(freedom: int) -> None:
    """Looks after each of 5 to 20 blocks; blocks that are normal, and with heavy tails."""
    margin = Margin(0.1)
    values = np.random.default_rng(14).standard_t(freedom, (20_000, 20)) * 0.05 + margin.limit_at(1.0)
    ever = np.zeros(len(values), dtype=bool)
    for blocks in range(FIRST, 21):
        seen = values[:, :blocks]
        error = seen.std(-1, ddof=1) / np.sqrt(blocks)
        ever |= p_beyond(seen.mean(-1), error, blocks - 1, margin.limit_at(1.0)) <= EQUIVALENCE_ALPHA
    assert 0.001 < ever.mean() <= 0.01


def test_a_quiet_machine_ends_in_equivalent() -> None:
    """A gate that is always undecided would be switched off too."""
    found, blocks = gate(*blocks_of(RUNS, 13, 0.05, 0.0, steadier=True))
    assert (found == 1).all(-1).mean() >= 0.8
    assert np.median(blocks) <= 9
