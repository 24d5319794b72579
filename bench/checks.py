"""What makes a run invalid: every check returns its problems in words a stranger understands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from bench.reading import CaseKey, Run, case_key

MAX_ERROR_SHARE = 0.01
MAX_PACING_ERROR_MS = 5.0


def find_problems(run: Run, cases: list[dict[str, Any]]) -> list[str]:
    """All reasons not to believe the run; an empty list means that it is valid. `cases` are those of the summary."""
    return [
        *_interrupted(run),
        *_rows_missing(run),
        *_asked_but_absent(run, cases),
        *_too_many_errors(run, cases),
        *_pacing(run),
        *_control(run),
    ]


def _interrupted(run: Run) -> Iterator[str]:
    if not run.manifest.get("complete"):
        yield "the run was interrupted: only the cases that had been written by then are shown"


def _rows_missing(run: Run) -> Iterator[str]:
    rows, ids = Counter((chat.key, chat.block) for chat in run.chats), Counter(chat.request_id for chat in run.chats)
    for row in run.cases:
        planned, found = row["chats_planned"], rows.pop((case_key(row), row["block"]), 0)
        if found < planned:
            yield f"{_name(case_key(row))}: {planned - found} of {planned} planned chats left no row"
    for (key, _block), found in rows.items():
        yield f"{_name(key)}: {found} chats belong to a case that was not finished"
    repeated = sum(count > 1 for count in ids.values())
    if repeated:
        yield f"{repeated} request ids occur in more than one chat, so timelines may be mixed up"


def _asked_but_absent(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    """The grid is scenarios x strategies that occur at all: a hole in it would make a comparison lopsided."""
    present = {(case["strategy"], case["scenario"]) for case in cases}
    scenarios = [*run.manifest.get("scenarios", {}), *(case["scenario"] for case in cases)]
    for scenario in dict.fromkeys(scenarios):
        absent = [name for name in dict.fromkeys(case["strategy"] for case in cases) if (name, scenario) not in present]
        if absent:
            yield f"{scenario}: not measured for {', '.join(absent)}"


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


def _pacing(run: Run) -> Iterator[str]:
    for row in run.cases:
        late_ms = row["witness_late_p99_ms"]
        if late_ms is not None and late_ms > MAX_PACING_ERROR_MS:
            yield (
                f"{_name(case_key(row))}: the mock upstream could not keep its pace (p99 {late_ms:.1f} ms late,"
                f" allowed is {MAX_PACING_ERROR_MS:.0f} ms), so the machine was overloaded"
            )


def _control(run: Run) -> Iterator[str]:
    stops = Counter(chat.key for chat in run.chats if chat.key.strategy == "none" and chat.measured.kind == "stopped")
    for key, count in stops.items():
        yield f"{_name(key)}: the control stopped {count} chats although it delivers no abort"


def _name(key: CaseKey) -> str:
    return f"{key.strategy} in {key.scenario}"
