"""Blocks that are unhealthy on head and not on base: found, hardly ever by chance, and never where both are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.analysis.reading import Run
from bench.gate.export import record
from bench.gate.outcome import Outcome
from bench.gate.rules import ALPHA, OVERLOAD, overloads, p_head_only
from bench.record.manifest import Manifest
from bench.record.schema import CaseRow
from bench.record.verdict import Effect, Limit
from bench.stats.paired import MIN_BLOCKS, holm
from tests.bench.gate.compared import Compared

LAST = 12


def row(block: int, *, strategy: str = "redis-push", **more: Any) -> CaseRow:
    found = {
        "strategy": strategy, "scenario": "flowing", "workers": 2, "streams": 150, "block": block,
        "chats_planned": 80, "witness_late_p99_ms": 0.4, **more,
    }  # fmt: skip
    return msgspec.convert(found, CaseRow)


BAD: dict[str, dict[str, Any]] = {
    "the mock is late": {"witness_late_p99_ms": 40.0},
    "a load process has no core left": {
        "health": {
            "processes": [
                {"name": "load", "pid": 7, "cpu": 0.99, "lag_p99_ms": 1.0, "lag_max_ms": 2.0, "gc_max_ms": 0.0}
            ],
            "chunks_per_s": 900.0,
        }
    },
    "a worker stalls": {
        "health": {"processes": [{"name": "service", "pid": 8, "lag_max_ms": 200.0}], "chunks_per_s": 900.0}
    },
    "chats are dropped": {"dropped": 12},
}


def run(bad: Sequence[int], blocks: int, *, cases: int = 1, what: str = "the mock is late") -> Run:
    """A run whose first case is unhealthy in these blocks."""
    rows = [
        row(block, strategy=f"s{case}-push", **(BAD[what] if case == 0 and block in bad else {}))
        for case in range(cases)
        for block in range(blocks)
    ]
    return Run(Path(), Manifest(), rows, [])


@pytest.mark.parametrize("what", BAD)
def test_a_head_that_disturbs_the_measurement_is_found_however_it_does(what: str) -> None:
    (found,) = overloads(run([], 5), run(range(5), 5, what=what))
    assert (found.rule, found.head, found.base) == (OVERLOAD, 5, 0)
    assert found.p == pytest.approx(1 / 252)
    assert (
        "s0-push in flowing, 2 workers: 5 of 5 blocks are unhealthy on head, 0 of 5 on base (p 0.004" in found.sentence
    )


@pytest.mark.parametrize(
    ("head", "base", "blocks", "cases", "found"),
    [
        (5, 0, 5, 1, True),
        (5, 1, 5, 1, False),  # p 0.024
        (4, 0, 4, 1, False),  # fewer blocks than any verdict needs
        (5, 0, 5, 9, False),  # p 0.036 of nine questions
        (6, 0, 6, 9, True),
        (6, 6, 6, 1, False),
        (3, 3, 6, 1, False),
        (0, 6, 6, 1, False),  # the other side
    ],
)
def test_how_many_blocks_are_enough(head: int, base: int, blocks: int, cases: int, found: bool) -> None:
    sides = run(range(base), blocks, cases=cases), run(range(head), blocks, cases=cases)
    assert bool(overloads(*sides)) is found


def test_scaling_looks_ahead() -> None:
    sides = run([0], 5), run(range(5), 5)
    assert not overloads(*sides)
    assert overloads(*sides, scale=2.0)
    assert not overloads(run([], 2), run([0, 1], 2))
    assert overloads(run([], 2), run([0, 1], 2), scale=4.0)


@pytest.fixture
def gate(tmp_path: Path) -> Compared:
    return Compared(tmp_path)


def test_it_makes_the_verdict_worse_and_not_invalid(gate: Compared) -> None:
    gate.side("base")
    gate.side("head", unhealthy=range(6))
    outcome = gate.judge()
    assert (outcome.verdict, outcome.exit_code) == ("worse", 1)
    assert "1 case in which head disturbs the measurement" in outcome.sentence
    (rule,) = record(outcome).rules
    assert (rule.rule, rule.effect, rule.margin) == (OVERLOAD, Effect(base=0, head=6), Limit(p=0.001082))


def test_where_both_are_unhealthy_it_stays_invalid(gate: Compared) -> None:
    gate.side("base", unhealthy=range(6))
    gate.side("head", unhealthy=range(6))
    outcome = gate.judge()
    assert (outcome.verdict, outcome.broken) == ("invalid", [])
    gate.side("head")
    assert gate.judge().verdict == "invalid"


def _false_alarms(rng: np.random.Generator, share: float, cases: int, tests: Callable[[int, int, int], float]) -> bool:
    """One gate run of head against itself, with a look after each block from MIN_BLOCKS on."""
    base, head = (rng.random((LAST, cases)) < share for _side in range(2))
    for blocks in range(MIN_BLOCKS, LAST + 1):
        counts = zip(base[:blocks].sum(0), head[:blocks].sum(0), strict=True)
        if min(holm([tests(int(one), int(other), blocks) for one, other in counts])) <= ALPHA:
            return True
    return False


@pytest.mark.parametrize("cases", [1, 9])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_head_against_itself_is_called_worse_in_at_most_one_percent(cases: int, share: float) -> None:
    """Whatever the share of unhealthy blocks is; 2,000 runs, so that 1.5 % is three standard errors above 1 %."""
    known: dict[tuple[int, int, int], float] = {}

    def p(base: int, head: int, blocks: int) -> float:
        key = (base, head, blocks)
        if key not in known:
            known[key] = p_head_only([base, head], [blocks, blocks])
        return known[key]

    rng = np.random.default_rng(5)
    alarms = sum(_false_alarms(rng, share, cases, p) for _run in range(2000))
    assert alarms <= 0.015 * 2000


def test_an_outcome_says_which_rules_are_of_which_kind() -> None:
    (found,) = overloads(run([], 5), run(range(5), 5))
    outcome = Outcome(broken=[found], head_problems=["too late"])
    assert outcome.sentence.startswith("head is worse than base (1 case in which head disturbs the measurement; ")
