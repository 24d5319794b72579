"""All metrics of all cases decided together: their block values, paired, with p corrected for their number (Holm)."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from bench.analysis.blocks import Block, BlockValues, Middles, block_values
from bench.analysis.reading import CaseKey, Run
from bench.gate.pairs import NO_PAIRS, Pairs, change
from bench.gate.verdict import Decision, Margin, decide, undecided
from bench.record.manifest import ScenarioSettings
from bench.stats.paired import holm
from bench.workload.schedule import can_be_paired
from bench.workload.strategies import is_special, scenario_rank, strategy_rank

Question = tuple[CaseKey, str]
CHAT_METRICS: Middles = {
    **dict.fromkeys(("upstream_stop_ms", "client_stop_ms", "abort_ack_ms"), statistics.median),
    "wasted_tokens": statistics.fmean,  # most of them are 0
    "ttft_ms": statistics.median,
}
CPU = "server_cpu_us_per_token"
OPERATIONS = ("store_ops_per_token", "store_ops_per_chat")
COSTS = (CPU, *OPERATIONS)
"""See `judged_in`."""


class Finding(NamedTuple):
    """The decision on one metric of one case."""

    case: CaseKey
    metric: str
    decision: Decision


def judged_in(values: BlockValues, scenarios: Mapping[str, ScenarioSettings], *, duet: bool = False) -> BlockValues:
    """The values of the metrics that are judged in their scenario.

    Costs: in scenarios without aborts, as others have too few tokens for a share of CPU time. In a `duet` CPU time is
    judged where the sides share loads, and so needs none: neighbours have the same tokens, and the changes of blocks
    scatter by 1.5 % instead of 6 %. The scenarios without aborts, where they take turns, then show operations only.
    """
    calm = {name for name, settings in scenarios.items() if not settings.abort_share}
    shared = {name for name, settings in scenarios.items() if duet and can_be_paired(settings) and not is_special(name)}

    def judged(scenario: str, metric: str) -> bool:
        if metric in OPERATIONS:
            return scenario in calm
        if shared and scenario in calm:
            return False
        return metric != CPU or scenario in (shared or calm)

    return {key: each for key, each in values.items() if judged(key[0].scenario, key[1])}


def gate_values(run: Run, excluded: Collection[Block] = ()) -> BlockValues:
    """The values of each chat metric and each cost that is not 0, by block.

    Store operations are per chat that was sent, not per usable one: chats that fail on head must not look like a cost.
    """
    found: dict[Question, dict[int, float]] = {}
    for (key, metric), blocks in block_values(run, excluded, CHAT_METRICS).items():
        kept = {block: value for block, value in blocks.items() if value or metric in CHAT_METRICS}
        if kept and metric in (*CHAT_METRICS, *COSTS):
            found[key, metric] = kept
    for row in run.cases:
        sent = row.chats_planned - row.dropped
        if row.store_ops and sent and (row.key, row.block) not in excluded:
            found.setdefault((row.key, "store_ops_per_chat"), {})[row.block] = row.store_ops / sent
    return judged_in(found, run.manifest.scenarios, duet=run.manifest.duet is not None)


def decide_all(
    base: BlockValues,
    head: BlockValues,
    margins: Mapping[str, Margin],
    *,
    side_by_side: bool = True,
    pairs: Pairs = NO_PAIRS,
) -> list[Finding]:
    """Decide every metric that has a margin, over the blocks that both sides have; p is corrected over all of them.

    A metric that only one side has is `inconclusive` with no block, so its disappearance is reported. The metrics of
    `single_block_notes` are left out. Of runs that were not measured `side_by_side` all blocks count. The change of a
    block is that of its `pairs`, where it has any.
    """
    found = []
    for key in _questions(base, head, margins):
        old, new, margin = base.get(key, {}), head.get(key, {}), margins[key[1]]
        common = sorted(old.keys() & new.keys())
        if side_by_side and common:
            known = None
            if of_pairs := {block: each for block, each in pairs.get(key, {}).items() if block in common}:
                common = sorted(of_pairs)
                known = [change(of_pairs[block], margin) for block in common]
            decision = decide([old[at] for at in common], [new[at] for at in common], margin, changes=known)
        elif side_by_side:
            decision = undecided([*old.values()], [*new.values()], 0, margin)
        else:
            decision = decide([*old.values()], [*new.values()], margin, side_by_side=False)
        found.append(Finding(*key, decision))
    # Each direction is a family of its own. Equivalence needs no correction: each such claim is made by itself.
    worse = holm([each.decision.p_worse for each in found])
    better = holm([each.decision.p_better for each in found])
    return [
        each._replace(decision=replace(each.decision, p_worse=one, p_better=other).settled())
        for each, one, other in zip(found, worse, better, strict=True)
    ]


def single_block_notes(base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]) -> list[str]:
    """A sentence for each metric that was counted in one block only: further blocks give no statistics of it.

    An example is the number of PostgreSQL operations, which does not change from block to block.
    """
    return [
        f"{case.strategy} in {case.scenario}: {metric} is counted in one block only"
        f" ({' -> '.join(f'{value:.3g}' for value in values)}, within the margin), and not judged"
        for (case, metric), values in _single(base, head, margins).items()
    ]


def more_needed(decisions: Iterable[Decision]) -> bool:
    """Whether another block could change the outcome: nothing is worse, and something is inconclusive."""
    verdicts = {decision.verdict for decision in decisions}
    return "worse" not in verdicts and "inconclusive" in verdicts


def _questions(base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]) -> list[Question]:
    """Every (case, metric) to be judged, in the order of the reports."""
    names, single = list(margins), _single(base, head, margins)
    found = {key for key in (*base, *head) if key[1] in margins and not is_special(key[0].scenario)} - single.keys()
    return sorted(
        found,
        key=lambda key: (scenario_rank(key[0].scenario), strategy_rank(key[0].strategy), key[0], names.index(key[1])),
    )


def _single(base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]) -> dict[Question, tuple[float, float]]:
    """The metrics of which both sides have one block although the case has more, with values inside the margin.

    Values beyond the margin remain a question, and are inconclusive.
    """
    more = {case for (case, _metric), blocks in (*base.items(), *head.items()) if len(blocks) > 1}
    found = {}
    for case, metric in sorted(base.keys() & head.keys()):
        blocks, margin = (base[case, metric], head[case, metric]), margins.get(metric)
        if margin and case in more and all(len(each) == 1 for each in blocks):
            old, new = (next(iter(each.values())) for each in blocks)
            if margin.higher_is_better or new <= old * (1 + margin.share) + margin.slack:
                found[case, metric] = (old, new)
    return found
