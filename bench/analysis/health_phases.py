"""What was too much within one phase of a load, and is diluted over the whole of it; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Case = Mapping[str, Any]
WORDS = {"arriving": "while chats were arriving", "ending": "while streams were ending, after the last chat was sent"}
SIGNS = ("cpu", "lag_p99_ms", "gc_max_ms")


def only_in_a_phase(case: Case, problems: Callable[[Case], list[str]]) -> Iterator[str]:
    """Each problem of a phase that the whole load does not show: when, and then what `problems` says of it.

    `case` is a row of cases.jsonl; one of an older run has no phases, and nothing to tell. `problems` judges made-up
    rows that hold a single sign, of the phase or of the whole, so the limits and the advice are the same.
    """
    health = case.get("health") or {}
    for phase, words in WORDS.items():
        for within, whole in _pairs(case, health, phase):
            if not problems(whole):
                yield from (f"{words}, {problem}" for problem in problems(within))


def _pairs(case: Case, health: Mapping[str, Any], phase: str) -> Iterator[tuple[Case, Case]]:
    """For each sign two rows that hold nothing else: as it was within the phase, and over the whole load."""
    if machine := (health.get("phases") or {}).get(phase):
        yield _row(case, steal=machine["steal"]), _row(case, steal=health.get("steal"))
    for process in health.get("processes", ()):
        if seen := (process.get("phases") or {}).get(phase):
            for sign in SIGNS:
                yield _only(case, process, sign, seen[sign]), _only(case, process, sign, process[sign])


def _only(case: Case, process: Mapping[str, Any], sign: str, value: float | None) -> Case:
    return _row(case, processes=[{**process, **dict.fromkeys(SIGNS), sign: value}])


def _row(case: Case, **health: Any) -> Case:
    # A storm's limits are wider, see bench/analysis/health.py.
    return {"at_once": case.get("at_once"), "health": health}
