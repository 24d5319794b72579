"""What makes a run invalid: every check returns its problems in words a stranger understands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.analysis import health
from bench.analysis.controls import NONE_LAST
from bench.analysis.reading import CaseKey, Run, case_key
from bench.workload.strategies import NONE, is_special

MAX_ERROR_SHARE = 0.01
MAX_UNWELL_SHARE = 0.2
"""Of a case's blocks: medians over blocks bear one bad block of five, and every machine has a hiccup now and then."""
BROKEN = {
    "wrong_stops": "chats were stopped although nobody had asked for it",
    "tokens_after_stop": "tokens reached a client after it had been told that its answer was stopped",
    "leaked": "upstream connections were never closed",
}


def find_problems(run: Run, cases: list[dict[str, Any]]) -> list[str]:
    """All reasons not to believe the run; an empty list means that it is valid. `cases` are those of the summary."""
    return [
        *_interrupted(run),
        *_rows_missing(run),
        *_asked_but_absent(run, cases),
        *_blocks_missing(run, cases),
        *_too_many_errors(run, cases),
        *_turned_away(run, cases),
        *_dropped(cases),
        *_health(run),
        *_control(run),
    ]


def find_warnings(run: Run, cases: list[dict[str, Any]], controls: list[dict[str, Any]]) -> list[str]:
    """What a reader must know although the run is valid: promises broken by a strategy, and controls that fail.

    A failed control that makes the run invalid is a problem, and not said twice.
    """
    return [
        *(
            f"{_name(case_key(case))}: {case[what]} {words}"
            for case in cases
            for what, words in BROKEN.items()
            if case[what]
        ),
        *(
            f"{_name(key)}: {len(sick)} of {blocks} blocks are less exact: {sick[0][0]}"
            for key, sick, blocks in _unwell(run)
            if 0 < len(sick) <= MAX_UNWELL_SHARE * blocks
        ),
        *_uneasy(run),
        *(each["says"] for each in controls if each["holds"] is False and each["name"] != NONE_LAST),
    ]


def _interrupted(run: Run) -> Iterator[str]:
    if not run.manifest.get("complete"):
        yield "the run was interrupted: only the cases that had been written by then are shown"


def _rows_missing(run: Run) -> Iterator[str]:
    rows, ids = Counter((chat.key, chat.block) for chat in run.chats), Counter(chat.request_id for chat in run.chats)
    for row in run.cases:
        planned, found = row["chats_planned"], rows.pop((case_key(row), row["block"]), 0)
        lost = planned - found - (row.get("dropped") or 0)
        if lost > 0:
            yield f"{_name(case_key(row))}: {lost} of {planned} planned chats left no row"
    for (key, _block), found in rows.items():
        yield f"{_name(key)}: {found} chats belong to a case that was not finished"
    repeated = sum(count > 1 for count in ids.values())
    if repeated:
        yield f"{repeated} request ids occur in more than one chat, so timelines may be mixed up"


def _asked_but_absent(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    """The manifest names every case that was to be measured: one without rows would make a comparison lopsided."""
    present = {(case["strategy"], case["scenario"], case["workers"]) for case in cases}
    absent: dict[str, list[str]] = {}
    for strategy, scenario, workers in run.manifest.get("cases") or ():
        if not is_special(scenario) and (strategy, scenario, workers) not in present:
            absent.setdefault(scenario, []).append(strategy)
    for scenario, strategies in absent.items():
        yield f"{scenario}: not measured for {', '.join(strategies)}"


def _blocks_missing(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    blocks = run.manifest.get("blocks") or 1
    for case in cases:
        if case["blocks"] < blocks:
            yield f"{_name(case_key(case))}: measured in {case['blocks']} of {blocks} blocks"


def _turned_away(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    """503s are what an outage is about; without one the store was down and nobody had planned it."""
    faulty = {case_key(row) for row in run.cases if row.get("fault")}
    for case in cases:
        turned = case["refused"] + case["turned_away"]
        if case_key(case) not in faulty and turned > MAX_ERROR_SHARE * case["chats"]:
            yield (
                f"{_name(case_key(case))}: {turned} chats or aborts of {case['chats']} were refused with 503 although"
                " no outage was planned: see the store's and the service's logs"
            )


def _dropped(cases: list[dict[str, Any]]) -> Iterator[str]:
    for case in cases:
        planned = case["chats"] + case["dropped"]
        if case["dropped"] > MAX_ERROR_SHARE * planned:
            yield (
                f"{_name(case_key(case))}: the load could not send {case['dropped']} of {planned} chats (allowed is"
                f" {MAX_ERROR_SHARE:.0%}): lower the scenario's rate or streams, or give the machine more cores"
            )


def _too_many_errors(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    for case in cases:
        if case["errors"] <= MAX_ERROR_SHARE * case["chats"]:
            continue
        key = case_key(case)
        causes = Counter(chat.measured.error for chat in run.chats if chat.key == key and chat.measured.error)
        cause, count = causes.most_common(1)[0]
        share = case["errors"] / case["chats"]
        yield (
            f"{_name(key)}: {case['errors']} of {case['chats']} chats failed ({share:.1%}, allowed is"
            f" {MAX_ERROR_SHARE:.0%}); most often: {cause} ({count})"
        )


def _health(run: Run) -> Iterator[str]:
    """A case whose instrument was unwell in too many of its blocks; with few blocks, in any."""
    for key, sick, blocks in _unwell(run):
        if len(sick) > MAX_UNWELL_SHARE * blocks:
            of = f" (in {len(sick)} of {blocks} blocks)" if blocks > 1 else ""
            yield from dict.fromkeys(f"{_name(key)}: {problem}{of}" for problem in sick[0])


def _uneasy(run: Run) -> Iterator[str]:
    """What is no fault yet, in one line for all cases: a busy machine has some of it in nearly every block."""
    found = [(key, sick[0][0], len(sick)) for key, sick, _blocks in _unwell(run, health.warnings) if sick]
    if found:
        key, example, _ = max(found, key=lambda each: each[2])
        count = sum(each[2] for each in found)
        yield (
            f"{count} of {len(run.cases)} blocks of cases are a little less exact, most of them in {_name(key)}:"
            f" {example} (the table of the instrument's health has them all)"
        )


def _unwell(
    run: Run, judge: Callable[[Mapping[str, Any]], list[str]] = health.problems
) -> Iterator[tuple[CaseKey, list[list[str]], int]]:
    """Each case with what was wrong in those of its blocks in which something was, and the number of its blocks."""
    found: dict[CaseKey, list[list[str]]] = {}
    for row in run.cases:
        found.setdefault(case_key(row), []).append(judge(row))
    for key, blocks in found.items():
        yield key, [problems for problems in blocks if problems], len(blocks)


def _control(run: Run) -> Iterator[str]:
    stops = Counter(chat.key for chat in run.chats if chat.key.strategy == NONE and chat.measured.outcome == "stopped")
    for key, count in stops.items():
        yield f"{_name(key)}: the control stopped {count} chats although it delivers no abort"


def _name(key: CaseKey) -> str:
    return f"{key.strategy} in {key.scenario}"
