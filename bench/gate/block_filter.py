"""Which blocks are evidence: those in which load, mock and machine were well, on both sides of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from bench.analysis import health
from bench.analysis.calibration import problems as calibration_problems
from bench.analysis.checks import find_problems
from bench.analysis.reading import CaseKey, Run, case_key
from bench.analysis.summary import Summary
from bench.workload.strategies import is_special

Block = tuple[CaseKey, int]
MAX_STANDSTILL_MS = 75.0
"""Half of what the scenarios keep free between the last Stop and the answer's end. A Stop passes two workers: where
each stood still for longer, it comes after the end, and a late one looks like a lost one."""


def unwell(run: Run) -> dict[Block, str]:
    """The blocks in which the instrument was not well, each with the first reason; floor and calibration are no cases.

    A Stop that a busy load sent late, or whose end it read late, looks like one that the service lost.
    """
    return {
        (case_key(row), row["block"]): problems[0]
        for row in run.cases
        if not is_special(row["scenario"]) and (problems := health.problems(row))
    }


def starved(run: Run) -> dict[Block, str]:
    """The blocks in which a worker of the service stood still for too long.

    Base's code is trusted: there it is the machine, and the block is no evidence at all. On head it may be head's own
    fault: its times are compared, but an abort that only such blocks miss is a doubt.
    """
    found = {}
    for row in run.cases:
        workers = [each for each in (row.get("health") or {}).get("processes", ()) if each["name"] == "service"]
        longest_ms = max((each["lag_max_ms"] or 0.0 for each in workers), default=0.0)
        if not is_special(row["scenario"]) and longest_ms > MAX_STANDSTILL_MS:
            found[case_key(row), row["block"]] = (
                f"a worker of the service stood still for {longest_ms:.0f} ms (allowed is {MAX_STANDSTILL_MS:g} ms):"
                " stop other work (see `top`)"
            )
    return found


def left_of(run: Run, left_out: Collection[Block]) -> Counter[CaseKey]:
    """How many blocks of each case are evidence; a case of which none is has a 0."""
    found: Counter[CaseKey] = Counter()
    for row in run.cases:
        if not is_special(row["scenario"]):
            key = case_key(row)
            found[key] += (key, row["block"]) not in left_out
    return found


def too_few(run: Run, left_out: Mapping[Block, str], needed: int) -> dict[CaseKey, str]:
    """The cases that have too few blocks left because of those that were left out, and why, in words."""
    found = {}
    for key, left in left_of(run, left_out).items():
        reasons = [why for (case, _block), why in left_out.items() if case == key]
        if reasons and left < needed:
            found[key] = (
                f"{key.strategy} in {key.scenario}: {left} of {left + len(reasons)} blocks are evidence,"
                f" a verdict needs {needed}: {reasons[0]}"
            )
    return found


def problems_of(run: Run, summary: Summary, left_out: Collection[Block]) -> list[str]:
    """What makes a side's measurement invalid when unwell blocks are left out instead of spoiling all of it.

    Chats that failed or were refused in those are no evidence either.
    """
    silent = [{**row, "health": None, "witness_late_p99_ms": None} for row in run.cases]
    cases = [_counted(run, case, left_out) for case in summary["cases"]]
    return [*run.damage, *find_problems(replace(run, cases=silent), cases), *miscalibrated(summary)]


def _counted(run: Run, case: Summary, left_out: Collection[Block]) -> Summary:
    """The summary's case with the counts of the blocks that are evidence."""
    key = case_key(case)
    own = [chat.measured for chat in run.chats if chat.key == key and (key, chat.block) not in left_out]
    rows = [row for row in run.cases if case_key(row) == key and (key, row["block"]) not in left_out]
    kinds = Counter(each.outcome for each in own)
    return case | {
        "chats": len(own),
        "errors": sum(each.error is not None for each in own),
        "refused": kinds["refused"],
        "turned_away": kinds["rejected"],
        "dropped": sum(row.get("dropped") or 0 for row in rows),
    }


def miscalibrated(summary: Summary) -> list[str]:
    """Why the instrument did not find again what was injected: measured once, so that no further block mends it."""
    return calibration_problems(summary["calibration"]) if "calibration" in summary else []
