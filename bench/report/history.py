"""One metric over the past runs of one machine: which runs belong together, their values and intervals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.analysis.reading import SCHEMA, CaseKey, case_key, is_quick, of_run
from bench.record.writer import other_machine
from bench.workload.strategies import scenario_rank, strategy_rank

STATISTICS = ("p50", "p95", "p99", "mean")
WORDS_ONLY = ("name", "sentence")


class HistoryError(Exception):
    """There is nothing to show; the message is one line, cause and next step."""


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


@dataclass(frozen=True)
class History:
    """The lines of a metric, and how many runs were left out for which reason."""

    metric: str
    lines: list[Line]
    runs: int
    left_out: Mapping[str, int]


def history(results: Path, metric: str, strategy: str | None = None, scenario: str | None = None) -> History:
    """Read the run folders in `results`; the machine and the scenario's settings are those of the newest usable run.

    `metric` is `name.statistic`, such as `upstream_stop_ms.p50`. Raises HistoryError: no such metric, strategy or
    scenario (naming those there are), no usable run.
    """
    name, _, statistic = metric.partition(".")
    if statistic not in STATISTICS:
        raise HistoryError(f"metric {metric!r}: write it as name.statistic, statistic one of {', '.join(STATISTICS)}")
    left_out: Counter[str] = Counter()
    runs = _usable(results, name, statistic, left_out)
    if not runs:
        said = ", ".join(f"{count} {why}" for why, count in left_out.items() if count) or "no run folder"
        raise HistoryError(f"{results} has no run to show ({said}): run `make bench`")
    newest = runs[-1].scenarios
    lines: dict[CaseKey, Line] = {}
    for run in runs:
        changed = {each for each, settings in run.scenarios.items() if _other(settings, newest.get(each))}
        left_out["with another scenario setting"] += bool(changed & ({scenario} if scenario else changed))
        for key, point in run.points.items():
            if key.scenario not in changed:
                lines.setdefault(key, Line(key)).points.append(point)
    if not lines:
        known = sorted({each for run in runs for each in run.metrics})
        raise HistoryError(f"no run has {metric}: choose from {', '.join(known)}")
    ordered = sorted(lines, key=lambda key: (scenario_rank(key.scenario), strategy_rank(key.strategy), key))
    shown = [key for key in ordered if strategy in (None, key.strategy) and scenario in (None, key.scenario)]
    if not shown:
        there = ", ".join(dict.fromkeys(f"{key.strategy} in {key.scenario}" for key in ordered))
        raise HistoryError(
            f"no run has {metric} of {strategy or 'any strategy'} in {scenario or 'any scenario'}: {there}"
        )
    return History(metric, [lines[key] for key in shown], len(runs), {why: n for why, n in left_out.items() if n})


class _Past(NamedTuple):
    """What is kept of a run: the metric's points, and what decides whether they may be shown."""

    started: tuple[str, str]
    host: dict[str, Any]
    scenarios: dict[str, Any]
    environment: dict[str, str] | None
    points: dict[CaseKey, Point]
    metrics: frozenset[str]


def _usable(results: Path, name: str, statistic: str, left_out: Counter[str]) -> list[_Past]:
    """The runs that can be shown, oldest first. One summary is in memory at a time: each can be some megabytes."""
    found: list[_Past] = []
    for folder in sorted(path.parent for path in results.glob("*/manifest.json")):
        if folder.is_symlink():
            continue
        try:
            read = _read(folder, name, statistic)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            read = "without a report"
        if isinstance(read, str):
            left_out[read] += 1
        else:
            found.append(read)
    found.sort(key=lambda run: run.started)
    here = [run for run in found if not other_machine(run.host, found[-1].host)]
    left_out["from another machine"] += len(found) - len(here)
    alike = [run for run in here if run.environment in (None, here[-1].environment)]
    left_out["with another environment (--env)"] += len(here) - len(alike)
    return alike


def _read(folder: Path, name: str, statistic: str) -> _Past | str:
    """One run, or why it is not shown. Raises KeyError and its like where a file is damaged."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if is_quick(manifest):
        return "QUICK"
    if manifest.get("side"):
        return "of a comparison"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if not (manifest["schema"] == summary["schema"] == SCHEMA and manifest["host"]):
        return "of another schema"
    if not summary["valid"]:
        return "invalid"
    measured = {case_key(case): case["metrics"].get(name) or {} for case in summary["cases"]}
    return _Past(
        started=(str(manifest.get("started_utc")), folder.name),
        host=manifest["host"],
        scenarios=manifest.get("scenarios") or {},
        environment=of_run(manifest),
        points={
            key: _point(folder, manifest, each, statistic)
            for key, each in measured.items()
            if each.get(statistic) is not None
        },
        metrics=frozenset(metric for case in summary["cases"] for metric in case["metrics"]),
    )


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
