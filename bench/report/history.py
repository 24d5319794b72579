"""One metric over the past runs of one machine: which runs can be compared, their values and intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.record.base import RecordError, read_file
from bench.record.host import other_machine
from bench.record.manifest import Host, Manifest, ScenarioSettings
from bench.record.schema import CaseKey
from bench.record.summary import Interval, Summary
from bench.report.cases import interval_of, value_of
from bench.workload.strategies import scenario_rank, strategy_rank

STATISTICS = ("p50", "p95", "p99", "mean")


class HistoryError(Exception):
    """There is nothing to show; the message is one line, cause and next step."""


class Point(NamedTuple):
    """One run's value: its folder, start (UTC), commit, value and 95 % interval where it has one."""

    run: str
    started_utc: str
    commit: str
    value: float
    interval: Interval | None


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


class _Past(NamedTuple):
    """What is kept of a run."""

    folder: str
    manifest: Manifest
    points: dict[CaseKey, Point]
    metrics: frozenset[str]


def history(results: Path, metric: str, strategy: str | None = None, scenario: str | None = None) -> History:
    """Read the run folders in `results`; the machine and the scenario's settings are those of the newest usable run.

    `metric` is `name.statistic`, such as `upstream_stop_ms.p50`. Raises HistoryError: no such metric, strategy or
    scenario (the message names the known ones), no usable run.
    """
    name, _, statistic = metric.partition(".")
    if statistic not in STATISTICS:
        raise HistoryError(f"metric {metric!r}: write it as name.statistic, statistic one of {', '.join(STATISTICS)}")
    left_out: Counter[str] = Counter()
    runs = _usable(results, name, statistic, left_out)
    if not runs:
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items() if count) or "no run folder"
        raise HistoryError(f"{results} has no run to show ({reasons}): run `make bench`")
    newest = runs[-1].manifest.scenarios
    lines: dict[CaseKey, Line] = {}
    for run in runs:
        changed = {each for each, settings in run.manifest.scenarios.items() if _changed(settings, newest.get(each))}
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
        wanted = f"{strategy or 'any strategy'} in {scenario or 'any scenario'}"
        raise HistoryError(f"no run has {metric} of {wanted}: {there}")
    return History(metric, [lines[key] for key in shown], len(runs), {why: n for why, n in left_out.items() if n})


def _usable(results: Path, name: str, statistic: str, left_out: Counter[str]) -> list[_Past]:
    """The runs that can be shown, oldest first. One summary is in memory at a time: each can be some megabytes."""
    found: list[_Past] = []
    for folder in sorted(path.parent for path in results.glob("*/manifest.json")):
        if not folder.is_symlink():
            read = _read(folder, name, statistic)
            if isinstance(read, str):
                left_out[read] += 1
            else:
                found.append(read)
    found.sort(key=lambda run: (run.manifest.started_utc or "", run.folder))
    host = found[-1].manifest.host if found else None
    here = [run for run in found if not other_machine(run.manifest.host or Host(), host or Host())]
    left_out["from another machine"] += len(found) - len(here)
    alike = [r for r in here if r.manifest.service_environment in (None, here[-1].manifest.service_environment)]
    left_out["with another environment (--env)"] += len(here) - len(alike)
    return alike


def _read(folder: Path, name: str, statistic: str) -> _Past | str:
    """One run, or why it is not shown."""
    try:
        manifest = read_file(folder / "manifest.json", Manifest)
        if manifest.is_quick:
            return "QUICK"
        if manifest.side:
            return "of a comparison"
        summary = read_file(folder / "summary.json", Summary)
    except OSError:
        return "without a report"
    except RecordError:
        return "of another schema"
    if not summary.valid:
        return "invalid"
    commit = f"{(manifest.commit or '')[:7] or '-'}{'+' if manifest.dirty else ''}"
    points = {
        case.key: Point(folder.name, manifest.started_utc or "-", commit, value, interval_of(case, name, statistic))
        for case in summary.cases
        if (value := value_of(case, name, statistic)) is not None
    }
    return _Past(folder.name, manifest, points, frozenset(each for case in summary.cases for each in case.metrics))


def _changed(settings: ScenarioSettings, newest: ScenarioSettings | None) -> bool:
    """Whether a scenario was measured differently than in the newest run that is shown."""
    return newest is not None and settings != msgspec.structs.replace(
        newest, name=settings.name, sentence=settings.sentence
    )
