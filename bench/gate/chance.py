"""With which probability would this comparison have found a change? Simulated with the spread of its own blocks."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.reading import case_name
from bench.gate.family import Finding
from bench.gate.simulation import Spread, simulate
from bench.stats.paired import MIN_BLOCKS

METRIC = "upstream_stop_ms"
SHIFT = 0.10
RUNS = 1000
"""The probability is exact to 3 percentage points (95 %); nine cases of 20 blocks take about 3 s."""


def chance_notes(findings: Sequence[Finding]) -> list[str]:
    """One sentence on METRIC in the case where a change is the least likely to be found; none with too few blocks."""
    judged = [each for each in findings if each.decision.base is not None and len(each.decision.changes) >= MIN_BLOCKS]
    family = [
        Spread(case_name(case), metric, decision.changes, decision.base or 0.0, decision.margin)
        for case, metric, decision in judged
    ]
    chances = []
    for blocks in {len(each.changes) for each in family if each.metric == METRIC}:
        cells = simulate(family, [METRIC], [SHIFT], [blocks], runs=RUNS)
        chances += [(each.counts["worse"] / RUNS, each) for each in cells if len(each.spread.changes) == blocks]
    if not chances:
        return []
    chance, cell = min(chances, key=lambda each: each[0])
    limit = f"{cell.blocks} blocks, margin {cell.spread.limit_share:.0%}"
    return [
        f"a change of {SHIFT:+.0%} of {METRIC} would have been found with {chance:.0%} probability"
        f" ({cell.spread.case}; {limit}; simulated from the spread of these blocks)"
    ]
