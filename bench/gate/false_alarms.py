"""The same strategy against itself: how often the comparison would have seen a difference that is not there."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from bench.analysis.comparison import ALPHA, Blocks, corrected, verdict

COMPARISONS = 20
ALARMS = ("faster", "slower")


def false_alarms(tables: Mapping[str, Blocks], comparisons: int = COMPARISONS) -> dict[str, Any]:
    """Compare labels that are one and the same strategy: `{"comparisons", "alarms", "rate", "uncorrected", "pairs"}`.

    `tables` hold the block values of each label, `{label: {block: value}}`. Of the pairs of labels the first
    `comparisons` are taken, such that all labels take part as evenly as can be. `rate` counts verdicts as a run gives
    them (Holm over all of these), `uncorrected` the share of p values below 0.05 before that; both are null when no
    pair has enough blocks. Raises ValueError when there are too few labels for so many comparisons.
    """
    around = len(tables)  # labels in a ring: neighbours first, then those two apart, and so on
    pairs = sorted(
        combinations(range(around), 2),
        key=lambda pair: (min(pair[1] - pair[0], around - pair[1] + pair[0]), pair),
    )[:comparisons]
    if len(pairs) < comparisons:
        raise ValueError(f"{len(tables)} labels make {len(pairs)} comparisons, {comparisons} were asked for")
    labels = list(tables)
    compared = corrected((labels[i], labels[j], tables[labels[i]], tables[labels[j]]) for i, j in pairs)
    told = [(a, b, each, each.p, p_holm) for a, b, each, p_holm in compared if each.p is not None]
    entries = [
        {"a": a, "b": b, "blocks": each.blocks, "ratio": each.ratio, "p": p, "p_holm": p_holm,
         "verdict": verdict(each, p_holm)}
        for a, b, each, p, p_holm in told
    ]  # fmt: skip
    alarms = sum(entry["verdict"] in ALARMS for entry in entries)
    loud = sum(p < ALPHA for _a, _b, _each, p, _p_holm in told)
    return {
        "comparisons": len(entries),
        "alarms": alarms,
        "rate": alarms / len(entries) if entries else None,
        "uncorrected": loud / len(entries) if entries else None,
        "pairs": entries,
    }


def split(values: Blocks, labels: Sequence[str], seed: int = 1) -> dict[str, dict[int, float]]:
    """Make `labels` out of one strategy's blocks: of as many blocks in a row, each label gets one, in random order.

    So every label has a value in each of the new blocks, measured near those of the others, as in a real run. What is
    left over at the end is not used.
    """
    rng = random.Random(seed)
    order = sorted(values)
    tables: dict[str, dict[int, float]] = {label: {} for label in labels}
    for new_block in range(len(order) // len(labels)):
        group = order[new_block * len(labels) : (new_block + 1) * len(labels)]
        for label, block in zip(labels, rng.sample(group, len(group)), strict=True):
            tables[label][new_block] = values[block]
    return tables
