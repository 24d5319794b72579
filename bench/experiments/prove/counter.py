"""The counter of proofs: gate runs by kind of machine, mode and version of the rule, added up over all invocations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.experiments.frame import write_json
from bench.experiments.prove.faults import FAULTS
from bench.gate.verdict import RULE_VERSION
from bench.record.host import machine_kind
from bench.record.manifest import Host
from bench.stats.proportions import proportion_interval
from bench.workload.scenario import PlanError

FILE = Path("results/reference/prove.json")
SCHEMA = 2
AA = "aa"
GOALS = {AA: 59} | {fault.name: 14 for fault in FAULTS}
"""59 runs of equal code with no alarm: fewer than 5 % false alarms, one-sided at 95 %; 14 of 14: power above 80 %."""

Row = dict[str, Any]


def add(
    path: Path, entry: Mapping[str, Any], *, host: Host, commit: str | None, date: str, version: int = RULE_VERSION
) -> None:  # fmt: skip
    """Add one gate run to the counter of its machine kind, mode and version; nothing is overwritten.

    `entry` as record.entry() makes it; `date`: ISO, UTC. An invalid run is counted apart, and as no run of a goal;
    one that broke off without a verdict is not counted. Raises OSError, PlanError.
    """
    if entry["mode"] is None:
        return
    record = read(path)
    key = {"machine": machine_kind(host), "mode": entry["mode"], "rule_version": version}
    count = next((each for each in record["counts"] if {name: each[name] for name in key} == key), None)
    if count is None:
        count = key | {"parts": {}}
        record["counts"].append(count)
    fresh: Row = {"runs": 0, "invalid": 0, "worse": 0, "found": 0, "minutes": 0.0, "dates": [], "commits": []}
    part = count["parts"].setdefault(entry["part"], fresh)
    invalid = entry["verdict"] == "invalid"
    part["invalid" if invalid else "runs"] += 1
    part["worse"] += entry["verdict"] == "worse"
    part["found"] += bool(entry["found"])
    part["minutes"] = round(part["minutes"] + entry["seconds"] / 60, 2)
    for name, value in (("dates", date[:10]), ("commits", (commit or "unknown")[:12])):
        part[name] = sorted({*part[name], value})
    write_json(path, record)


def read(path: Path) -> Row:
    """The counter; an empty one if the file does not exist. Raises OSError, PlanError."""
    if not path.exists():
        return {"schema": SCHEMA, "goals": GOALS, "counts": []}
    record: Row = json.loads(path.read_text(encoding="utf-8"))
    if record.get("schema") != SCHEMA:
        raise PlanError(f"{path} has the schema {record.get('schema')}, not {SCHEMA}: move it away")
    return record | {"goals": GOALS}


def progress(record: Mapping[str, Any], host: Host, mode: str | None, version: int = RULE_VERSION) -> list[str]:
    """A line per part: runs of the goal, and the exact 95 % interval of the rate; empty if nothing was counted."""
    key = (machine_kind(host), mode, version)
    own = [each for each in record["counts"] if (each["machine"], each["mode"], each["rule_version"]) == key]
    return [_line(name, part) for each in own for name, part in each["parts"].items()]


def _line(name: str, part: Mapping[str, Any]) -> str:
    goal, runs = GOALS.get(name), part["runs"]
    hits = part["found"] if name not in (AA, "docs") else part["worse"]
    low, high = proportion_interval(hits, runs)
    what = f"{hits} false alarms" if name in (AA, "docs") else f"found {hits} times"
    of = f" of {goal}" if goal else ""
    invalid = f", {part['invalid']} invalid" if part["invalid"] else ""
    return (
        f"{name}: {runs}{of} runs, {what} ({100 * low:.1f} to {100 * high:.1f} %, exact 95 % interval{invalid});"
        f" {part['minutes']:.0f} min in all, {part['dates'][0]} to {part['dates'][-1]}"
    )
