"""Changes of latencies between two sides that shared a load: of pairs of chats that are neighbours in time.

**Formula.** A pair has the same index on both sides. Its change is `y(head) - y(base)` on the scale of verdict.py,
`y = log(value + slack)`, so what slows both chats alike cancels out. A block's change is Hodges and Lehmann's estimate
over its pairs, and the gate decides over blocks as without pairs (bench/stats/paired.py).

Source: Bulej and others, Duet benchmarking (2020), arXiv 2001.05811, section 3. There a pair is one run of both sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bench.analysis.blocks import Block
from bench.analysis.reading import CaseKey, Run
from bench.gate.verdict import Margin
from bench.stats.paired import walsh_averages
from bench.stats.percentiles import MIN_SAMPLES
from bench.workload.schedule import can_be_paired

METRICS = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms")
"""Latencies. `wasted_tokens` is 0 in most chats, so means of blocks are compared."""
Values = dict[int, float]
Pairs = Mapping[tuple[CaseKey, str], Mapping[int, Sequence[tuple[float, float]]]]
"""(case, metric) -> block -> (base, head) of each pair."""
NO_PAIRS: Pairs = {}


def pairs_of(base: Run, head: Run, excluded: Collection[Block] = ()) -> Pairs:
    """The pairs of the usable blocks; none if the sides took turns."""
    if base.manifest.duet is None or head.manifest.duet is None:
        return NO_PAIRS
    old, new = _values(base, excluded), _values(head, excluded)
    found: dict[tuple[CaseKey, str], dict[int, list[tuple[float, float]]]] = defaultdict(dict)
    for key in sorted(old.keys() & new.keys()):
        case, metric, block = key
        common = sorted(old[key].keys() & new[key].keys())
        if len(common) >= MIN_SAMPLES:
            found[case, metric][block] = [(old[key][index], new[key][index]) for index in common]
    return found


def change(pairs: Sequence[tuple[float, float]], margin: Margin) -> float:
    """The change of a block on the margin's scale; positive is worse."""
    base, head = (margin.on_scale(side) for side in zip(*pairs, strict=True))
    return float(np.median(walsh_averages([new - old for old, new in zip(base, head, strict=True)])))


def _values(run: Run, excluded: Collection[Block]) -> dict[tuple[CaseKey, str, int], Values]:
    """The values of each metric by the index of the chat, of the scenarios in which the sides share loads."""
    shared = {name for name, settings in run.manifest.scenarios.items() if can_be_paired(settings)}
    found: dict[tuple[CaseKey, str, int], Values] = defaultdict(dict)
    for chat in run.chats:
        if (chat.key, chat.block) in excluded or chat.key.scenario not in shared:
            continue
        index = int(chat.request_id.rpartition("-")[2])
        for metric in METRICS:
            value = getattr(chat.measured, metric)
            if value is not None:
                found[chat.key, metric, chat.block][index] = max(0.0, value)  # stamps of two processes
    return found
