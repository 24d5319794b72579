"""What must not happen even once, whatever the statistics say: a lost Stop, somebody else's Stop, a leak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.analysis.reading import CaseKey, Chat, Run, case_key
from bench.gate.block_filter import Block
from bench.stats.proportions import Losses
from bench.workload.strategies import is_special

MAX_ERROR_SHARE = 0.01
"""As in analysis/checks.py: a port that was taken, a connection that was reset; more is a fault of the service."""


class Rule(NamedTuple):
    """`what` is counted. `only_promised`: a strategy that never promised to deliver is excused. `absolute`: it counts
    whatever state the instrument was in, since a busy machine cannot make it up."""

    what: str
    only_promised: bool
    absolute: bool


# by the key of the summary's case
RULES = {
    "missed": Rule("aborts that were accepted in time and never stopped the upstream", True, False),
    "wrong_stops": Rule("chats that were stopped although nobody had asked for it", False, True),
    "leaked": Rule("upstream connections that were left open after their chats", False, True),
    "tokens_after_stop": Rule("tokens that clients received after they had been told of the stop", True, False),
}


@dataclass(frozen=True)
class Fired:
    """A rule that head broke in one case: how often, and how often base did.

    `p`: where the rule compares the two counts, how likely such a difference is by chance.
    """

    rule: str
    case: CaseKey
    head: int
    base: int | None
    sentence: str
    p: float | None = None


class Judged(NamedTuple):
    """`fired`: what counts. `doubtful`: seen only in blocks that are no evidence. `losses`: head's, by strategy."""

    fired: list[Fired]
    doubtful: list[Fired]
    losses: dict[str, Losses]


def judge(base: Run | None, head: Run, left_out: Collection[Block] = ()) -> Judged:
    """The rules that head breaks. In the blocks that are `left_out` the instrument was unwell on one side at least.

    Without `base` there is nothing to tell beside head's counts.
    """
    wholes, parts = (
        [count(run.chats if run else (), ignored) for run in (base, head)] for ignored in (frozenset(), left_out)
    )
    whole, certain = fired(*wholes), fired(*parts)
    counts = [each for each in whole if _absolute(each.rule)] + [each for each in certain if not _absolute(each.rule)]
    known = {(each.rule, each.case) for each in counts}
    losses: dict[str, Losses] = defaultdict(Losses)
    for case in parts[1]:
        if promises_delivery(case["strategy"], case["workers"]):
            losses[case["strategy"]] += Losses(case["missed"], case["aborts"])
    return Judged(counts, [each for each in whole if (each.rule, each.case) not in known], dict(losses))


def count(chats: Iterable[Chat], left_out: Collection[Block] = ()) -> list[dict[str, Any]]:
    """What the rules look at, for each case, as in `cases` of a summary.json, over the blocks that are not left out."""
    found: dict[CaseKey, dict[str, int]] = {}
    for chat in chats:
        if is_special(chat.key.scenario) or (chat.key, chat.block) in left_out:
            continue
        measured, case = chat.measured, found.setdefault(chat.key, defaultdict(int))
        case["chats"] += 1
        case["errors"] += measured.error is not None
        case["aborts"] += measured.counted
        case["missed"] += measured.outcome == "missed"
        case["wrong_stops"] += measured.wrong_stop
        case["leaked"] += measured.leaked
        case["tokens_after_stop"] += measured.tokens_after_stop
    return [{**key._asdict(), **counts} for key, counts in found.items()]


def promises_delivery(strategy: str, workers: int) -> bool:
    """Whether every abort must arrive: `memory` knows its own process only, and `none` never delivers."""
    if strategy == "none":
        return False
    return workers == 1 if strategy.partition("-")[0] == "memory" else True


def fired(base: Iterable[Mapping[str, Any]], head: Iterable[Mapping[str, Any]]) -> list[Fired]:
    """The rules that head's cases break; both are as `count` gives them, or `cases` of a summary.json.

    They hold for head as it is: that base broke one too is told, but does not excuse it. A count that a summary does
    not have was not measured, and cannot fire.
    """
    before = {case_key(dict(case)): case for case in base}
    broken = []
    for case in head:
        key = case_key(dict(case))
        counts = [
            (name, case.get(name) or 0, rule.what)
            for name, rule in RULES.items()
            if promises_delivery(key.strategy, key.workers) or not rule.only_promised
        ]
        if case["errors"] > MAX_ERROR_SHARE * case["chats"]:
            words = f"of {case['chats']} chats that failed, allowed is {MAX_ERROR_SHARE:.0%}"
            counts.append(("errors", case["errors"], words))
        for name, seen, what in counts:
            if seen:
                old = before.get(key, {}).get(name)
                broken.append(Fired(name, key, seen, old, _sentence(key, seen, what, old)))
    return broken


def _absolute(rule: str) -> bool:
    return rule in RULES and RULES[rule].absolute


def _sentence(key: CaseKey, count: int, what: str, base: int | None) -> str:
    workers = f"{key.workers} worker{'s' if key.workers != 1 else ''}"
    before = "" if base is None else f" (base: {base})"
    return f"{key.strategy} in {key.scenario}, {workers}: {count} {what}{before}"
