"""What head must not do in any case: break a rule once, or disturb the measurement where base does not.

**Zero tolerance**, without statistics: a lost abort, a wrong stop, a leak, a token after the stop; and failed chats.

**Overload.** A head that needs far more CPU takes it from load and mock, and its blocks are then excluded as unhealthy.
So the numbers of unhealthy blocks of head and base are compared: Fisher's exact test per case, one-sided, Holm's
correction over the cases. Both sides of a block are measured one directly after the other, so a busy machine disturbs
both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.analysis.blocks import Block
from bench.analysis.checks import MAX_ERROR_SHARE
from bench.analysis.reading import CaseKey, Chat, Run, case_name
from bench.gate.block_filter import disturbed_blocks, usable_count
from bench.stats.paired import MIN_BLOCKS, holm
from bench.stats.proportions import Losses
from bench.workload.strategies import is_special

RULES = {
    "missed": "aborts that were accepted in time and never stopped the upstream",
    "wrong_stops": "chats that were stopped without an abort",
    "leaked": "upstream connections that were left open after their chats",
    "tokens_after_stop": "tokens that clients received after the stop had been reported to them",
}
"""What is counted, by the name of the count."""
ABSOLUTE = ("wrong_stops", "leaked")
"""Count in excluded blocks too, since a busy machine cannot cause them. The others hold only for strategies that
promise delivery."""
OVERLOAD = "unhealthy_blocks"
ALPHA = 0.01
"""Over all looks of a gate run: with 1 to 12 cases and a look after each of 5 to 12 blocks, at most 1 % of the runs of
head against itself are called worse (simulated in tests/bench/gate/test_overload.py). One case needs 5 of 5 blocks
against 0 of 5, nine cases 6 of 6 against 0 of 6."""
Counts = dict[str, int]


@dataclass(frozen=True)
class BrokenRule:
    """A rule that head broke in one case, with the counts of head and base; `p` if the rule compares the two."""

    rule: str
    case: CaseKey
    head: int
    base: int | None
    sentence: str
    p: float | None = None


class RuleResult(NamedTuple):
    """`broken`: what counts. `unproven`: seen only in excluded blocks. `losses`: head's, by strategy."""

    broken: list[BrokenRule]
    unproven: list[BrokenRule]
    losses: dict[str, Losses]


def apply_rules(
    base: Run | None, head: Run, excluded: Collection[Block] = (), set_aside: Run | None = None
) -> RuleResult:
    """The rules without statistics that head breaks; without `base` there are only head's counts.

    `set_aside`: chats of head in loads that were unhealthy and measured again; they count like excluded blocks.
    """
    before, after = (count(run.chats if run else (), excluded) for run in (base, head))
    others = set_aside.chats if set_aside else []
    seen = broken_rules(count(base.chats if base else ()), count([*head.chats, *others]))
    proven = [each for each in seen if each.rule in ABSOLUTE]
    proven += [each for each in broken_rules(before, after) if each.rule not in ABSOLUTE]
    names = {(each.rule, each.case) for each in proven}
    losses: dict[str, Losses] = defaultdict(Losses)
    for case, counts in after.items():
        if promises_delivery(case.strategy, case.workers):
            losses[case.strategy] += Losses(counts["missed"], counts["aborts"])
    return RuleResult(proven, [each for each in seen if (each.rule, each.case) not in names], dict(losses))


def count(chats: Iterable[Chat], excluded: Collection[Block] = ()) -> dict[CaseKey, Counts]:
    """The counts of the rules by case, over the blocks that are not excluded."""
    found: dict[CaseKey, Counts] = {}
    for chat in chats:
        if is_special(chat.key.scenario) or (chat.key, chat.block) in excluded:
            continue
        measured, counts = chat.measured, found.setdefault(chat.key, defaultdict(int))
        counts["chats"] += 1
        counts["errors"] += measured.error is not None
        counts["aborts"] += measured.counted
        counts["missed"] += measured.outcome == "missed"
        counts["wrong_stops"] += measured.wrong_stop
        counts["leaked"] += measured.leaked
        counts["tokens_after_stop"] += measured.tokens_after_stop
    return found


def promises_delivery(strategy: str, workers: int) -> bool:
    """Whether every abort must arrive: `memory` reaches its own process only, and `none` never delivers."""
    return strategy != "none" and (workers == 1 or strategy.partition("-")[0] != "memory")


def broken_rules(base: dict[CaseKey, Counts], head: dict[CaseKey, Counts]) -> list[BrokenRule]:
    """The rules that head's counts break; base's count is reported and is no excuse."""
    found = []
    for case, counts in head.items():
        promised = promises_delivery(case.strategy, case.workers)
        rules = {name: what for name, what in RULES.items() if promised or name in ABSOLUTE}
        if counts["errors"] > MAX_ERROR_SHARE * counts["chats"]:
            rules["errors"] = f"of {counts['chats']} chats failed (limit {MAX_ERROR_SHARE:.0%})"
        for name, what in rules.items():
            if seen := counts[name]:
                before = base[case][name] if case in base else None
                note = "" if before is None else f" (base: {before})"
                found.append(BrokenRule(name, case, seen, before, f"{case_name(case)}: {seen} {what}{note}"))
    return found


def overloads(base: Run, head: Run, *, scale: float = 1.0) -> list[BrokenRule]:
    """The cases with significantly more unhealthy blocks on head than on base; none below MIN_BLOCKS blocks.

    `scale`: the answer if the run went on in the same way for this many times as many blocks.
    """
    disturbed = disturbed_blocks(base), disturbed_blocks(head)
    bad, blocks = [Counter(key for key, _ in each) for each in disturbed], [usable_count(base), usable_count(head)]
    counts = {key: ([side[key] for side in bad], [side[key] for side in blocks]) for key in blocks[1]}
    counts = {key: each for key, each in counts.items() if min(each[1]) * scale >= MIN_BLOCKS}
    corrected = holm([p_head_only(*([round(n * scale) for n in part] for part in each)) for each in counts.values()])
    found = []
    for (key, ((bad_base, bad_head), (of_base, of_head))), p in zip(counts.items(), corrected, strict=True):
        if p <= ALPHA:
            reason = next(reason for (case, _block), reason in disturbed[1].items() if case == key)
            text = f"{bad_head} of {of_head} blocks are unhealthy on head, {bad_base} of {of_base} on base"
            sentence = f"{case_name(key)}: {text} (p {p:.2g}, limit {ALPHA:g}): {reason}"
            found.append(BrokenRule(OVERLOAD, key, bad_head, bad_base, sentence, p))
    return found


def p_head_only(bad: list[int], blocks: list[int]) -> float:
    """Fisher's one-sided p of (base, head): the probability that head has this many more bad blocks by chance."""
    from scipy.stats import fisher_exact  # noqa: PLC0415 - it takes a second to import

    table = [[bad[1], blocks[1] - bad[1]], [bad[0], blocks[0] - bad[0]]]
    return float(fisher_exact(np.array(table), alternative="greater").pvalue)
