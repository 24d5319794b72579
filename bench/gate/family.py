"""All metrics of all cases decided together: pairs the blocks, and adjusts for how many questions were asked (Holm)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from bench.analysis.reading import CaseKey
from bench.gate.decision import Decision, Margin
from bench.gate.verdict import decide, decide_unpaired, settle, undecided
from bench.stats.paired import holm
from bench.workload.strategies import is_special, scenario_rank, strategy_rank

BlockValues = Mapping[tuple[CaseKey, str], Mapping[int, float]]
"""(case, metric) -> block -> the block's value, in the metric's unit."""


class Finding(NamedTuple):
    """What was decided about one metric of one case."""

    case: CaseKey
    metric: str
    decision: Decision


def decide_all(base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]) -> list[Finding]:
    """Decide every metric that has a margin, over the blocks that both sides measured; p is adjusted over all of them.

    What only one side has is `inconclusive` with no block, so that a metric that vanished cannot pass unseen; what
    `single_block_notes` tells is left out.
    """

    def paired(old: Mapping[int, float], new: Mapping[int, float], margin: Margin) -> Decision:
        common = sorted(old.keys() & new.keys())
        if not common:
            return undecided([*old.values()], [*new.values()], 0, margin)
        return decide([old[block] for block in common], [new[block] for block in common], margin)

    return _adjusted(
        Finding(case, metric, paired(base.get((case, metric), {}), head.get((case, metric), {}), margins[metric]))
        for case, metric in _asked(base, head, margins)
    )


def decide_all_unpaired(base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]) -> list[Finding]:
    """The same for two runs that were not measured side by side."""

    def unpaired(key: tuple[CaseKey, str]) -> Decision:
        old, new = (list(side.get(key, {}).values()) for side in (base, head))
        return decide_unpaired(old, new, margins[key[1]])

    return _adjusted(Finding(*key, unpaired(key)) for key in _asked(base, head, margins))


def single_block_notes(base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]) -> list[str]:
    """What was counted in one block only, in words: no statistics can be made of that, and no further block helps.

    Such is how often a strategy asks PostgreSQL, which does not change from block to block.
    """
    return [
        f"{case.strategy} in {case.scenario}: {metric} is counted in one block only"
        f" ({' -> '.join(f'{value:.3g}' for value in values)}, within the margin), and not judged"
        for (case, metric), values in _once(base, head, margins).items()
    ]


def more_needed(decisions: Iterable[Decision]) -> bool:
    """True while another block could change the outcome: nothing is worse yet, and something is undecided."""
    verdicts = {decision.verdict for decision in decisions}
    return "worse" not in verdicts and "inconclusive" in verdicts


def _asked(base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]) -> list[tuple[CaseKey, str]]:
    """Every (case, metric) that may be judged, in the order in which reports list them."""
    names = list(margins)
    once = _once(base, head, margins)
    keys = {key for key in (*base, *head) if key[1] in margins and not is_special(key[0].scenario) and key not in once}
    return sorted(
        keys,
        key=lambda key: (scenario_rank(key[0].scenario), strategy_rank(key[0].strategy), key[0], names.index(key[1])),
    )


def _once(
    base: BlockValues, head: BlockValues, margins: Mapping[str, Margin]
) -> dict[tuple[CaseKey, str], tuple[float, float]]:
    """What both sides have of one block although the case has more, the values no further apart than the margin.

    Further apart, it stays among what is asked, and undecided.
    """
    most: dict[CaseKey, int] = {}
    for (case, _metric), blocks in (*base.items(), *head.items()):
        most[case] = max(most.get(case, 0), len(blocks))
    found = {}
    for key in base.keys() & head.keys():
        old, new = [*base[key].values()], [*head[key].values()]
        if key[1] in margins and len(old) == len(new) == 1 and most[key[0]] > 1:
            margin = margins[key[1]]
            counts_from = old[0] * (1 + margin.share) + margin.slack
            if margin.higher_is_better or new[0] <= counts_from:
                found[key] = (old[0], new[0])
    return dict(sorted(found.items()))


def _adjusted(findings: Iterable[Finding]) -> list[Finding]:
    """Both directions are families of their own; equivalence needs no adjustment, since each claim is made alone."""
    found = list(findings)
    worse = holm([finding.decision.p_worse for finding in found])
    better = holm([finding.decision.p_better for finding in found])
    return [
        finding._replace(decision=settle(replace(finding.decision, p_worse=one, p_better=other)))
        for finding, one, other in zip(found, worse, better, strict=True)
    ]
