"""Rules that one violation breaks, without statistics: a lost abort, a wrong stop, a leak, a token after the stop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from bench.analysis.blocks import Block
from bench.analysis.checks import MAX_ERROR_SHARE
from bench.analysis.reading import CaseKey, Chat, Run, case_name
from bench.stats.proportions import Losses
from bench.workload.strategies import is_special


class Rule(NamedTuple):
    """`what` is counted. `if_promised`: only for strategies that promise delivery. `absolute`: also in excluded blocks,
    since a busy machine cannot cause it."""

    what: str
    if_promised: bool
    absolute: bool


# by the name of the count
RULES = {
    "missed": Rule("aborts that were accepted in time and never stopped the upstream", True, False),
    "wrong_stops": Rule("chats that were stopped without an abort", False, True),
    "leaked": Rule("upstream connections that were left open after their chats", False, True),
    "tokens_after_stop": Rule("tokens that clients received after the stop had been reported to them", True, False),
}
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


def apply_rules(base: Run | None, head: Run, excluded: Collection[Block] = ()) -> RuleResult:
    """The rules that head breaks; without `base` there are only head's counts."""
    in_all, in_usable = (
        [count(run.chats if run else (), ignored) for run in (base, head)] for ignored in (frozenset(), excluded)
    )
    seen = broken_rules(*in_all)
    proven = [each for each in seen if _absolute(each)]
    proven += [each for each in broken_rules(*in_usable) if not _absolute(each)]
    names = {(each.rule, each.case) for each in proven}
    losses: dict[str, Losses] = defaultdict(Losses)
    for case, counts in in_usable[1].items():
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
    if strategy == "none":
        return False
    return workers == 1 if strategy.partition("-")[0] == "memory" else True


def broken_rules(base: dict[CaseKey, Counts], head: dict[CaseKey, Counts]) -> list[BrokenRule]:
    """The rules that head's counts break; base's count is reported and is no excuse."""
    found = []
    for case, counts in head.items():
        limits = [
            (name, counts[name], rule.what)
            for name, rule in RULES.items()
            if promises_delivery(case.strategy, case.workers) or not rule.if_promised
        ]
        if counts["errors"] > MAX_ERROR_SHARE * counts["chats"]:
            limits.append(
                ("errors", counts["errors"], f"of {counts['chats']} chats failed (limit {MAX_ERROR_SHARE:.0%})")
            )
        for name, seen, what in limits:
            if seen:
                before = base[case][name] if case in base else None
                note = "" if before is None else f" (base: {before})"
                found.append(BrokenRule(name, case, seen, before, f"{case_name(case)}: {seen} {what}{note}"))
    return found


def _absolute(broken: BrokenRule) -> bool:
    return broken.rule in RULES and RULES[broken.rule].absolute
