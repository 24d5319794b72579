"""Does head disturb the measurement where base does not? Then the disturbance is head's, and head is worse.

A head that needs far more CPU takes it from the load and the mock: its blocks are unhealthy, and were left out as no
evidence. That they are unhealthy on head only is evidence itself. For each case the unhealthy blocks of head and base
are compared by Fisher's exact test, one-sided; p is corrected over the cases (Holm). Both sides of a block are measured
one directly after the other, so a busy machine makes both unhealthy alike, and p is not small.

ALPHA holds over all looks of a gate run: Fisher's test is conservative for so few blocks, and with 1 to 12 cases and a
look after each of 5 to 12 blocks at most 1 % of the runs of head against itself are called worse, whatever the share of
unhealthy blocks is (tests/bench/gate/test_overload.py simulates that). With one case 5 of 5 blocks against 0 of 5 are
enough, with nine cases 6 of 6 against 0 of 6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy.stats import fisher_exact

from bench.analysis import health
from bench.analysis.checks import MAX_ERROR_SHARE
from bench.analysis.reading import CaseKey, Run, case_key, case_name
from bench.gate.block_filter import Block, starved
from bench.gate.zero_tolerance import Fired
from bench.stats.paired import MIN_BLOCKS, holm
from bench.workload.strategies import is_special

RULE = "unhealthy_blocks"
ALPHA = 0.01


def overloads(base: Run, head: Run, *, as_many: float = 1.0) -> list[Fired]:
    """The cases in which significantly more blocks are unhealthy on head than on base; none before MIN_BLOCKS blocks.

    `as_many`: what the answer would be if the measurement went on like this for so many times as many blocks.
    """
    ill = [unhealthy(run) for run in (base, head)]
    counts: dict[CaseKey, tuple[list[int], list[int]]] = {}
    for side, run in enumerate((base, head)):
        for row in run.cases:
            if not is_special(row["scenario"]):
                bad, all_blocks = counts.setdefault(case_key(row), ([0, 0], [0, 0]))
                all_blocks[side] += 1
                bad[side] += (case_key(row), row["block"]) in ill[side]
    shares = {key: each for key, each in counts.items() if min(each[1]) * as_many >= MIN_BLOCKS}
    corrected = holm([p_head_only(*([round(n * as_many) for n in part] for part in each)) for each in shares.values()])
    return [
        Fired(RULE, key, bad[1], bad[0], _sentence(key, bad, blocks, p, _reason(ill[1], key)), p=p)
        for (key, (bad, blocks)), p in zip(shares.items(), corrected, strict=True)
        if p <= ALPHA
    ]


def p_head_only(bad: list[int], blocks: list[int]) -> float:
    """Fisher's one-sided p: how likely head, the second, has so many more bad blocks than base by chance."""
    table = [[bad[1], blocks[1] - bad[1]], [bad[0], blocks[0] - bad[0]]]
    return float(fisher_exact(np.array(table), alternative="greater").pvalue)


def unhealthy(run: Run) -> dict[Block, str]:
    """The blocks in which something was over its limit, each with the first reason; the same rule for either side."""
    asked, refused = (Counter[Block](), Counter[Block]())
    for chat in run.chats:
        asked[chat.key, chat.block] += 1
        refused[chat.key, chat.block] += chat.measured.outcome in ("refused", "rejected")
    still = starved(run)
    found = {}
    for row in run.cases:
        block = (case_key(row), row["block"])
        reasons = [*health.problems(row), *([still[block]] if block in still else []), *_dropped(row)]
        if refused[block] > MAX_ERROR_SHARE * asked[block] and not row.get("fault"):
            reasons.append(f"{refused[block]} of {asked[block]} chats or aborts were refused with 503")
        if reasons and not is_special(row["scenario"]):
            found[block] = reasons[0]
    return found


def _dropped(row: dict[str, object]) -> Iterator[str]:
    dropped, planned = int(str(row.get("dropped") or 0)), int(str(row["chats_planned"]))
    if dropped > MAX_ERROR_SHARE * planned:
        yield f"{dropped} of {planned} chats could not be sent, since too many earlier ones were still running"


def _reason(ill: dict[Block, str], key: CaseKey) -> str:
    return next(why for (case, _block), why in ill.items() if case == key)


def _sentence(key: CaseKey, bad: list[int], blocks: list[int], p: float, why: str) -> str:
    return (
        f"{case_name(key)}: {bad[1]} of {blocks[1]} blocks are unhealthy on head, {bad[0]} of {blocks[0]} on base"
        f" (p {p:.2g}, limit {ALPHA:g}): {why}"
    )
