"""What a proof has seen: a line per gate run, a promise per kind of commit, and whether each was kept."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.experiments.prove.faults import FAULTS

SCHEMA = 1
FILE = "prove.json"
AA, DOCS = "aa", "docs"
PARTS = (AA, *(fault.name for fault in FAULTS), DOCS)
RUNS_PER_ALARM = 20
"""One false alarm in so many runs of head against itself is allowed: as often as a test at 5 % is wrong."""
VERDICTS = ("worse", "better", "equivalent", "inconclusive", "invalid")
KEPT = {True: "[green]kept[/]", False: "[red]broken[/]", None: "[yellow]not shown[/]"}
_FAULTS = {fault.name: fault for fault in FAULTS}

Entry = dict[str, Any]


def entry(part: str, number: int, verdict: Mapping[str, Any] | None, *, seconds: float, code: int, said: str) -> Entry:
    """One gate run: `{"part", "number", "verdict", "exit_code", "seconds", "blocks", "sentence", "rules": [{"rule",
    "metric", "strategy", "scenario", "sentence"}], "found"}`.

    `verdict` is its verdict.json; without one it broke off, and `said` is its last word. `found` is null where nothing
    is to be found.
    """
    record = verdict or {"verdict": "invalid", "sentence": f"no verdict: {said}", "blocks": 0, "rules": []}
    keys = ("rule", "metric", "strategy", "scenario", "sentence")
    rules = [{key: rule[key] for key in keys} for rule in record["rules"]]
    return {
        "part": part,
        "number": number,
        "verdict": record["verdict"],
        "exit_code": code,
        "seconds": round(seconds, 1),
        "blocks": record["blocks"],
        "sentence": record["sentence"],
        "rules": rules,
        "found": _found(part, record["verdict"], rules),
    }


def promises(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """`[{"part", "promise", "runs", "verdicts": {verdict: n}, "seconds_p50", "kept"}]`, of the parts that were run.

    `kept` is null where the machine let nothing be shown: no run of HEAD against itself was valid, or a fault was
    found in every run but those that were invalid.
    """
    found = []
    for part in PARTS:
        own = [each for each in entries if each["part"] == part]
        if not own:
            continue
        counts = Counter(each["verdict"] for each in own)
        allowed = len(own) // RUNS_PER_ALARM
        kept: bool | None
        if part == AA:
            says, kept = f"head against itself: at most {allowed} worse", counts["worse"] <= allowed
            kept = None if counts["invalid"] == len(own) else kept
        elif part == DOCS:
            says, kept = "only docs, every core busy: never worse", not counts["worse"]
        else:
            says, missed = f"{_FAULTS[part].sentence}: always found", [each for each in own if not each["found"]]
            kept = None if missed and all(each["verdict"] == "invalid" for each in missed) else not missed
        found.append(
            {
                "part": part,
                "promise": says,
                "runs": len(own),
                "verdicts": {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]},
                "seconds_p50": round(statistics.median(each["seconds"] for each in own), 1),
                "kept": kept,
            }
        )
    return found


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Write prove.json, whole or not at all: `{"schema", "started_utc", "commit", "host", "asked", "complete", "runs",
    "promises"}`."""
    scratch = folder / f".{FILE}.part"
    scratch.write_text(json.dumps({"schema": SCHEMA, **record}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(folder / FILE)


def table(entries: Sequence[Entry]) -> Table:
    """A row per promise."""
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("part", "promise", "runs", "verdicts", "a run took", ""):
        shown.add_column(name, justify="right" if name in ("runs", "a run took") else "left")
    for each in promises(entries):
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in each["verdicts"].items())
        kept = KEPT[each["kept"]]
        shown.add_row(each["part"], each["promise"], str(each["runs"]), verdicts, f"{each['seconds_p50']:.0f} s", kept)
    return shown


def _found(part: str, verdict: str, rules: Sequence[Mapping[str, Any]]) -> bool | None:
    """Whether the gate saw this fault, and not something else that happened to be worse."""
    fault = _FAULTS.get(part)
    if fault is None:
        return None
    return verdict == "worse" and any(
        rule["metric"] in fault.shown_by and fault.needs in rule["strategy"] for rule in rules
    )
