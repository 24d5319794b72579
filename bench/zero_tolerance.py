"""What must not happen even once, whatever the statistics say: a lost Stop, somebody else's Stop, a leak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.reading import CaseKey, case_key

MAX_ERROR_SHARE = 0.01
"""As bench/checks.py has it: a port that was taken, a connection that was reset; more is a fault of the service."""

# key of the summary's case -> what it counts, and whether a strategy that never promised to deliver is excused
RULES = {
    "missed": ("aborts that were accepted in time and never stopped the upstream", True),
    "wrong_stops": ("chats that were stopped although nobody had asked for it", False),
    "leaked": ("upstream connections that were left open after their chats", False),
    "tokens_after_stop": ("tokens that clients received after they had been told of the stop", True),
}


@dataclass(frozen=True)
class Fired:
    """A rule that head broke in one case: how often, and how often base did."""

    rule: str
    case: CaseKey
    head: int
    base: int | None
    sentence: str


def promises_delivery(strategy: str, workers: int) -> bool:
    """Whether every abort must arrive: `memory` knows its own process only, and `none` never delivers."""
    if strategy == "none":
        return False
    return workers == 1 if strategy.partition("-")[0] == "memory" else True


def fired(base: Iterable[Mapping[str, Any]], head: Iterable[Mapping[str, Any]]) -> list[Fired]:
    """The rules that head's cases break; both are `cases` of a summary.json.

    They hold for head as it is: that base broke one too is told, but does not excuse it. A count that a summary does
    not have was not measured, and cannot fire.
    """
    before = {case_key(dict(case)): case for case in base}
    broken = []
    for case in head:
        key = case_key(dict(case))
        counts = [
            (rule, case.get(rule) or 0, what)
            for rule, (what, only_promised) in RULES.items()
            if promises_delivery(key.strategy, key.workers) or not only_promised
        ]
        if case["errors"] > MAX_ERROR_SHARE * case["chats"]:
            words = f"of {case['chats']} chats that failed, allowed is {MAX_ERROR_SHARE:.0%}"
            counts.append(("errors", case["errors"], words))
        for rule, count, what in counts:
            if count:
                old = before.get(key, {}).get(rule)
                broken.append(Fired(rule, key, count, old, _sentence(key, count, what, old)))
    return broken


def _sentence(key: CaseKey, count: int, what: str, base: int | None) -> str:
    workers = f"{key.workers} worker{'s' if key.workers != 1 else ''}"
    before = "" if base is None else f" (base: {base})"
    return f"{key.strategy} in {key.scenario}, {workers}: {count} {what}{before}"
