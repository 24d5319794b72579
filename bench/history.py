"""One metric over the past runs of one machine: which runs belong together, their values and intervals, and steps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.change_points import Step, steps
from bench.environment import of_run
from bench.gate_run import GateError, is_quick
from bench.reading import SCHEMA, CaseKey, case_key
from bench.records import LATEST
from bench.styles import scenario_rank, strategy_rank

STATISTICS = ("p50", "p95", "p99", "mean")
WORDS_ONLY = ("name", "sentence")


class Point(NamedTuple):
    """One run's value: its folder, start (UTC), commit, value and 95 % interval where it has one."""

    run: str
    started_utc: str
    commit: str
    value: float
    interval: tuple[float, float] | None


@dataclass
class Line:
    """One case over the runs that measured it the same way, oldest first."""

    case: CaseKey
    points: list[Point] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        """Where the values took a step."""
        return steps([point.value for point in self.points])


@dataclass(frozen=True)
class History:
    """The lines of a metric, and how many runs were left out for which reason."""

    metric: str
    lines: list[Line]
    runs: int
    left_out: Mapping[str, int]


def history(results: Path, metric: str, strategy: str | None = None, scenario: str | None = None) -> History:
    """Read the run folders in `results`; the machine and the scenario's settings are those of the newest usable run.

    `metric` is `name.statistic`, such as `upstream_stop_ms.p50`. Raises GateError: no such metric, strategy or scenario
    (naming those there are), no usable run.
    """
    name, _, statistic = metric.partition(".")
    if statistic not in STATISTICS:
        raise GateError(f"metric {metric!r}: write it as name.statistic, statistic one of {', '.join(STATISTICS)}")
    left_out: Counter[str] = Counter()
    runs = _usable(results, left_out)
    if not runs:
        said = ", ".join(f"{count} {why}" for why, count in left_out.items() if count) or "no run folder"
        raise GateError(f"{results} has no run to show ({said}): run `make bench`")
    newest = runs[-1][1]["scenarios"]
    lines: dict[CaseKey, Line] = {}
    for folder, manifest, cases in runs:
        changed = {each for each, settings in manifest["scenarios"].items() if _other(settings, newest.get(each))}
        left_out["with another scenario setting"] += bool(changed & ({scenario} if scenario else changed))
        for case in cases:
            value = (case["metrics"].get(name) or {}).get(statistic)
            if value is not None and case["scenario"] not in changed:
                key = case_key(case)
                point = _point(folder, manifest, case["metrics"][name], statistic)
                lines.setdefault(key, Line(key)).points.append(point)
    if not lines:
        known = sorted({each for _folder, _manifest, cases in runs for case in cases for each in case["metrics"]})
        raise GateError(f"no run has {metric}: choose from {', '.join(known)}")
    ordered = sorted(lines, key=lambda key: (scenario_rank(key.scenario), strategy_rank(key.strategy), key))
    shown = [key for key in ordered if strategy in (None, key.strategy) and scenario in (None, key.scenario)]
    if not shown:
        there = ", ".join(dict.fromkeys(f"{key.strategy} in {key.scenario}" for key in ordered))
        raise GateError(f"no run has {metric} of {strategy or 'any strategy'} in {scenario or 'any scenario'}: {there}")
    return History(metric, [lines[key] for key in shown], len(runs), {why: n for why, n in left_out.items() if n})


Usable = tuple[Path, dict[str, Any], list[dict[str, Any]]]


def _usable(results: Path, left_out: Counter[str]) -> list[Usable]:
    """The folders whose runs can be shown, oldest first."""
    found: list[Usable] = []
    for folder in sorted(path.parent for path in results.glob("*/manifest.json")):
        if folder.name == LATEST or folder.is_symlink():
            continue
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            known = manifest["schema"] == summary["schema"] == SCHEMA and bool(manifest["host"])
            cases, valid = list(summary["cases"]), summary["valid"]
            manifest.setdefault("scenarios", {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            left_out["without a report"] += 1
            continue
        if not known:
            left_out["of another schema"] += 1
        elif is_quick(manifest):
            left_out["QUICK"] += 1
        elif manifest.get("side"):
            left_out["of a comparison"] += 1
        elif not valid:
            left_out["invalid"] += 1
        else:
            found.append((folder, manifest, cases))
    found.sort(key=lambda run: (str(run[1].get("started_utc")), run[0].name))
    here = [run for run in found if run[1]["host"] == found[-1][1]["host"]]
    left_out["from another machine"] += len(found) - len(here)
    alike = [run for run in here if of_run(run[1]) in (None, of_run(here[-1][1]))]
    left_out["with another environment (--env)"] += len(here) - len(alike)
    return alike


def _other(settings: Mapping[str, Any], newest: Mapping[str, Any] | None) -> bool:
    """Whether a scenario was measured differently than in the newest run that is shown."""
    keys = {*settings, *(newest or {})} - set(WORDS_ONLY)
    return newest is not None and any(settings.get(key) != newest.get(key) for key in keys)


def _point(folder: Path, manifest: Mapping[str, Any], measured: Mapping[str, Any], statistic: str) -> Point:
    ends = (measured.get("ci95") or {}).get(statistic)
    commit = str(manifest.get("commit") or "")[:7] or "-"
    return Point(
        folder.name,
        str(manifest.get("started_utc") or "-"),
        f"{commit}{'+' if manifest.get('dirty') else ''}",
        float(measured[statistic]),
        (float(ends[0]), float(ends[1])) if ends else None,
    )
