"""The results of a proof: a row per gate run, a promise per kind of commit, and whether each was kept."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from bench.experiments.prove.faults import FAULTS
from bench.experiments.tables import written

SCHEMA = 1
FILE = "prove.json"
AA, DOCS = "aa", "docs"
PARTS = (AA, *(fault.name for fault in FAULTS), DOCS)
RUNS_PER_ALARM = 20
"""Runs of head against itself per permitted false alarm: the rate of a test at 5 %."""
VERDICTS = ("worse", "better", "equivalent", "inconclusive", "invalid")
_FAULTS = {fault.name: fault for fault in FAULTS}

Entry = dict[str, Any]


def entry(
    part: str, number: int, verdict: Mapping[str, Any] | None, *, seconds: float, code: int | None, reason: str
) -> Entry:
    """One gate run: `{"part", "number", "verdict", "exit_code", "seconds", "blocks", "sentence", "rules": [{"rule",
    "metric", "strategy", "scenario", "sentence"}], "found", "mode"}`.

    `verdict` is its verdict.json, None when it broke off, for this `reason`. `found` is null for a commit without a
    fault; `mode`, how the gate measured ("duet", "turns"), without a verdict.
    """
    record = verdict or {"verdict": "invalid", "sentence": f"no verdict: {reason}", "blocks": 0, "rules": []}
    keys = ("rule", "metric", "strategy", "scenario", "sentence")
    rules = [{key: rule[key] for key in keys} for rule in record["rules"]]
    found: Entry = {"part": part, "number": number, "exit_code": code, "seconds": round(seconds, 1), "rules": rules}
    found |= {name: record[name] for name in ("verdict", "blocks", "sentence")}
    found["mode"] = verdict.get("mode", "turns") if verdict else None
    fault = _FAULTS.get(part)
    shown = [rule for rule in rules if fault and rule["metric"] in fault.shown_by and fault.needs in rule["strategy"]]
    return found | {"found": bool(record["verdict"] == "worse" and shown) if fault else None}


def promises(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """`[{"part", "promise", "runs", "verdicts": {verdict: n}, "seconds_p50", "kept"}]`, of the parts that were run.

    `kept` is null where too few runs were valid: none of HEAD against itself, or a fault was found in all but the
    invalid runs.
    """
    found = []
    for part in PARTS:
        own = [each for each in entries if each["part"] == part]
        if not own:
            continue
        counts = Counter(each["verdict"] for each in own)
        kept: bool | None
        if part == AA:
            allowed = len(own) // RUNS_PER_ALARM
            promise, kept = f"head against itself: at most {allowed} worse", counts["worse"] <= allowed
            kept = None if counts["invalid"] == len(own) else kept
        elif part == DOCS:
            promise, kept = "only docs, every core busy: never worse", not counts["worse"]
        else:
            promise, missed = f"{_FAULTS[part].sentence}: always found", [each for each in own if not each["found"]]
            kept = None if missed and all(each["verdict"] == "invalid" for each in missed) else not missed
        row = {"part": part, "promise": promise, "runs": len(own), "kept": kept}
        row["verdicts"] = {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}
        row["seconds_p50"] = round(statistics.median(each["seconds"] for each in own), 1)
        found.append(row)
    return found


def verdict_of(entries: Sequence[Entry]) -> tuple[str, str]:
    """`broken`, `not shown` or empty (all promises were kept), and a message."""
    for verdict, kept, text in (("broken", False, "broken"), ("not shown", None, "not shown, too few valid runs")):
        if found := [each["promise"] for each in promises(entries) if each["kept"] is kept]:
            return verdict, f"{text}: {'; '.join(found)}"
    return "", ""


def promises_table(entries: Sequence[Entry]) -> Table:
    """A row per promise."""
    return written("promises", promises=promises(entries), wrap=True)
