"""Latencies of sides that shared a load: pairs of neighbours in time, whose common disturbance cancels out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.reading import Chat, Run
from bench.gate.family import decide_all, gate_values
from bench.gate.pairs import change, pairs_of
from bench.gate.verdict import Margin
from bench.record.manifest import Duet, Manifest, ScenarioSettings
from bench.record.schema import CaseRow
from tests.bench.fake_gate import PUSH, chat_row
from tests.bench.typed import measure

MARGIN = Margin(0.05, slack=0.001)
KEY = (PUSH, "upstream_stop_ms")


def side(name: str, values: dict[int, list[float]], *, duet: bool = True, shift: int = 0) -> Run:
    chats = [
        Chat(PUSH, block, f"t-{name}-{block}-{index + shift}", measure(chat_row("redis-push", block, index, value)))
        for block, own in values.items()
        for index, value in enumerate(own)
    ]
    rows = [CaseRow(**PUSH._asdict(), block=block) for block in values]
    scenarios = {"flowing": ScenarioSettings(name="flowing", abort_share=1.0)}
    manifest = Manifest(duet=Duet(injected_ms=0.2) if duet else None, scenarios=scenarios)
    return Run(Path(), manifest, rows, chats)


def drifting(shift: float, blocks: int = 6) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Both sides' stops: the machine is up to ten times as slow from pair to pair, and head slower by a share."""
    rng = np.random.default_rng(3)
    base: dict[int, list[float]] = {}
    head: dict[int, list[float]] = {}
    for block in range(blocks):
        machine = rng.lognormal(1.0, 0.8, 60)
        base[block], head[block] = (list(machine * rng.lognormal(0, 0.05, 60) * factor) for factor in (1, 1 + shift))
    return base, head


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "equivalent"), (0.1, "worse"), (-0.1, "better")])
def test_what_slows_both_neighbours_cancels_out(shift: float, verdict: str) -> None:
    old, new = (side(name, values) for name, values in zip("ab", drifting(shift), strict=True))
    values = gate_values(old), gate_values(new)
    (found,) = decide_all(*values, {KEY[1]: MARGIN}, pairs=pairs_of(old, new))
    assert found.decision.verdict == verdict
    assert found.decision.effect == pytest.approx(math.log1p(shift), abs=0.02)
    assert len(found.decision.changes) == 6


def test_a_pair_has_the_same_index_on_both_sides() -> None:
    old, new = side("a", {0: [1.0] * 10}), side("b", {0: [2.0] * 10}, shift=3)
    assert pairs_of(old, new)[KEY][0] == [(1.0, 2.0)] * 7


def test_sides_that_took_turns_have_no_pairs() -> None:
    assert not pairs_of(side("a", {0: [1.0] * 9}, duet=False), side("b", {0: [1.0] * 9}))


def test_an_excluded_block_has_no_pairs() -> None:
    old, new = (side(name, {0: [1.0] * 9, 1: [1.0] * 9}) for name in "ab")
    assert list(pairs_of(old, new, [(PUSH, 0)])[KEY]) == [1]


def test_the_change_of_a_block_is_robust_and_on_the_scale_of_the_margin() -> None:
    pairs = [(2.0, 2.2)] * 9 + [(2.0, 200.0)]
    assert change(pairs, Margin(0.05)) == pytest.approx(math.log(1.1))
