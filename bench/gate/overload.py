"""Cases in which head disturbs the measurement and base does not: more of head's blocks are unhealthy.

A head that needs far more CPU takes it from load and mock, and its blocks are then excluded as unhealthy. So the
numbers of unhealthy blocks of head and base are compared: Fisher's exact test per case, one-sided, Holm's correction
over the cases. Both sides of a block are measured one directly after the other, so a busy machine disturbs both.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.stats import fisher_exact

from bench.analysis import health
from bench.analysis.blocks import Block
from bench.analysis.checks import MAX_ERROR_SHARE
from bench.analysis.reading import CaseKey, Run, case_name
from bench.gate.block_filter import stalled_workers
from bench.gate.zero_tolerance import BrokenRule
from bench.stats.paired import MIN_BLOCKS, holm
from bench.workload.strategies import is_special

RULE = "unhealthy_blocks"
ALPHA = 0.01
"""Over all looks of a gate run: with 1 to 12 cases and a look after each of 5 to 12 blocks, at most 1 % of the runs of
head against itself are called worse (simulated in tests/bench/gate/test_overload.py). One case needs 5 of 5 blocks
against 0 of 5, nine cases 6 of 6 against 0 of 6."""


def overloads(base: Run, head: Run, *, scale: float = 1.0) -> list[BrokenRule]:
    """The cases with significantly more unhealthy blocks on head than on base; none below MIN_BLOCKS blocks.

    `scale`: the answer if the run went on in the same way for this many times as many blocks.
    """
    disturbed = [disturbed_blocks(run) for run in (base, head)]
    counts: dict[CaseKey, tuple[list[int], list[int]]] = {}
    for side, run in enumerate((base, head)):
        for row in run.cases:
            if not is_special(row.scenario):
                bad, blocks = counts.setdefault(row.key, ([0, 0], [0, 0]))
                blocks[side] += 1
                bad[side] += (row.key, row.block) in disturbed[side]
    counts = {key: each for key, each in counts.items() if min(each[1]) * scale >= MIN_BLOCKS}
    corrected = holm([p_head_only(*([round(n * scale) for n in part] for part in each)) for each in counts.values()])
    return [
        BrokenRule(
            RULE,
            key,
            head=bad[1],
            base=bad[0],
            sentence=f"{case_name(key)}: {bad[1]} of {blocks[1]} blocks are unhealthy on head, {bad[0]} of {blocks[0]}"
            f" on base (p {p:.2g}, limit {ALPHA:g}): {_first_reason(disturbed[1], key)}",
            p=p,
        )
        for (key, (bad, blocks)), p in zip(counts.items(), corrected, strict=True)
        if p <= ALPHA
    ]


def p_head_only(bad: list[int], blocks: list[int]) -> float:
    """Fisher's one-sided p of (base, head): the probability that head has this many more bad blocks by chance."""
    table = [[bad[1], blocks[1] - bad[1]], [bad[0], blocks[0] - bad[0]]]
    return float(fisher_exact(np.array(table), alternative="greater").pvalue)


def disturbed_blocks(run: Run) -> dict[Block, str]:
    """The blocks in which anything exceeded a limit, each with the first reason; the same rule for both sides."""
    chats, refused = Counter[Block](), Counter[Block]()
    for chat in run.chats:
        chats[chat.key, chat.block] += 1
        refused[chat.key, chat.block] += chat.measured.outcome in ("refused", "rejected")
    stalled, found = stalled_workers(run), {}
    for row in run.cases:
        block = (row.key, row.block)
        reasons = [*health.problems(row), *([stalled[block]] if block in stalled else [])]
        if row.dropped > MAX_ERROR_SHARE * row.chats_planned:
            reasons.append(f"{row.dropped} of {row.chats_planned} chats were not sent, as `streams` were open already")
        if refused[block] > MAX_ERROR_SHARE * chats[block] and not row.fault:
            reasons.append(f"{refused[block]} of {chats[block]} chats or aborts were refused with 503")
        if reasons and not is_special(row.scenario):
            found[block] = reasons[0]
    return found


def _first_reason(disturbed: dict[Block, str], key: CaseKey) -> str:
    return next(reason for (case, _block), reason in disturbed.items() if case == key)
