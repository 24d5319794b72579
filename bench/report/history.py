"""One metric over the past runs of one machine that can be compared: as a chart, and as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from rich.table import Table

from bench.analysis.metrics import UNITS
from bench.analysis.ranking import interval_of, value_of
from bench.analysis.reading import case_name
from bench.record.base import RecordError, read_file
from bench.record.host import other_machine
from bench.record.manifest import Host, Manifest, ScenarioSettings
from bench.record.schema import CaseKey
from bench.record.summary import Interval, Summary
from bench.report.charts.canvas import figure, style_of
from bench.report.formatting import number, plural
from bench.workload.strategies import scenario_rank, strategy_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STATISTICS = ("p50", "p95", "p99", "mean")
PANEL_IN, WIDTH_IN = 1.75, 5.6
MOST_DATES = 12  # that fit side by side


class HistoryError(Exception):
    """There is nothing to show; the message is one line, cause and next step."""


class Point(NamedTuple):
    """One run's value, with its 95 % interval where it has one, and the run's start (UTC) and commit."""

    started_utc: str
    commit: str
    value: float
    interval: Interval | None


@dataclass(frozen=True)
class History:
    """Case -> its points over the runs that measured it the same way, oldest first; `left_out`: runs by reason."""

    metric: str
    lines: Mapping[CaseKey, Sequence[Point]]
    runs: int
    left_out: Mapping[str, int]


class _Past(NamedTuple):
    """What is kept of a run."""

    manifest: Manifest
    points: dict[CaseKey, Point]
    metrics: set[str]


def history(results: Path, metric: str, strategy: str | None = None, scenario: str | None = None) -> History:
    """Read the run folders in `results`; the machine and the scenario's settings are those of the newest usable run.

    `metric` is `name.statistic`, such as `upstream_stop_ms.p50`. Raises HistoryError: no such metric, strategy or
    scenario (the message names the known ones), no usable run.
    """
    if metric.partition(".")[2] not in STATISTICS:
        raise HistoryError(f"metric {metric!r}: write it as name.statistic, statistic one of {', '.join(STATISTICS)}")
    left_out: Counter[str] = Counter()
    runs = _usable(results, metric, left_out)
    if not runs:
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items() if count) or "no run folder"
        raise HistoryError(f"{results} has no run to show ({reasons}): run `make bench`")
    lines: dict[CaseKey, list[Point]] = {}
    for run in runs:
        changed = _changed(run.manifest.scenarios, runs[-1].manifest.scenarios)
        left_out["with another scenario setting"] += bool(changed & ({scenario} if scenario else changed))
        for key, point in run.points.items():
            if key.scenario not in changed:
                lines.setdefault(key, []).append(point)
    if not lines:
        known = sorted(set().union(*(run.metrics for run in runs)))
        raise HistoryError(f"no run has {metric}: choose from {', '.join(known)}")
    ordered = sorted(lines, key=lambda key: (scenario_rank(key.scenario), strategy_rank(key.strategy), key))
    shown = [key for key in ordered if strategy in (None, key.strategy) and scenario in (None, key.scenario)]
    if not shown:
        there = ", ".join(dict.fromkeys(f"{key.strategy} in {key.scenario}" for key in ordered))
        wanted = f"{strategy or 'any strategy'} in {scenario or 'any scenario'}"
        raise HistoryError(f"no run has {metric} of {wanted}: {there}")
    return History(metric, {key: lines[key] for key in shown}, len(runs), +left_out)


def _usable(results: Path, metric: str, left_out: Counter[str]) -> list[_Past]:
    """The runs that can be shown, oldest first. One summary is in memory at a time: each can be some megabytes."""
    folders = sorted(path.parent for path in results.glob("*/manifest.json") if not path.parent.is_symlink())
    read = [_read(folder, metric) for folder in folders]
    left_out.update(run for run in read if isinstance(run, str))
    found = sorted((run for run in read if not isinstance(run, str)), key=lambda run: run.manifest.started_utc or "")
    here = [run for run in found if not other_machine(run.manifest.host or Host(), found[-1].manifest.host or Host())]
    left_out["from another machine"] += len(found) - len(here)
    alike = [r for r in here if r.manifest.service_environment in (None, here[-1].manifest.service_environment)]
    left_out["with another environment (--env)"] += len(here) - len(alike)
    return alike


def _read(folder: Path, metric: str) -> _Past | str:
    """One run, or why it is not shown."""
    try:
        manifest = read_file(folder / "manifest.json", Manifest)
        if manifest.is_quick or manifest.side:
            return "QUICK" if manifest.is_quick else "of a comparison"
        summary = read_file(folder / "summary.json", Summary)
    except OSError:
        return "without a report"
    except RecordError:
        return "of another schema"
    if not summary.valid:
        return "invalid"
    name, _, key = metric.partition(".")
    commit = f"{(manifest.commit or '')[:7] or '-'}{'+' if manifest.dirty else ''}"
    points = {
        case.key: Point(manifest.started_utc or "-", commit, value, interval_of(case, name, key))
        for case in summary.cases
        if (value := value_of(case, name, key)) is not None
    }
    return _Past(manifest, points, {each for case in summary.cases for each in case.metrics})


def _changed(scenarios: Mapping[str, ScenarioSettings], newest: Mapping[str, ScenarioSettings]) -> set[str]:
    """The scenarios that were measured differently than in the newest run that is shown."""
    named = {
        name: msgspec.structs.replace(newest[name], name=own.name, sentence=own.sentence)
        for name, own in scenarios.items()
        if name in newest
    }
    return {name for name, settings in named.items() if settings != scenarios[name]}


def draw(history: History, results: Path) -> list[Path]:
    """Write charts/history-<metric>.png and .svg into `results` and return both."""
    name, count = f"history-{history.metric.replace('.', '-')}", len(history.lines)
    metric = history.metric.partition(".")[0]
    title = f"{history.metric} over the runs of this machine; bars: 95 % intervals"
    look: dict[str, Any] = {"title": title, "title_pt": 10.5, "width_in": WIDTH_IN, "nrows": count}
    with figure(results, name, PANEL_IN * count + 0.9, **look) as every:
        for (case, points), axes in zip(history.lines.items(), every, strict=True):
            _draw_line(axes, case, points)
            axes.set_ylabel(f"[{UNITS.get(metric, 'ms' if metric.endswith('_ms') else '')}]")
        every[-1].set_xlabel("runs, oldest first: date and commit (+ uncommitted changes)")
    return [results / "charts" / f"{name}.{kind}" for kind in ("png", "svg")]


def _draw_line(axes: Axes, case: CaseKey, points: Sequence[Point]) -> None:
    look, values = style_of(case.strategy), [point.value for point in points]
    axes.plot(values, look.marker, color=look.colour, linestyle="-", linewidth=0.8, markersize=4)
    intervals = {place: point.interval for place, point in enumerate(points) if point.interval}
    for place, ends in intervals.items():
        axes.plot([place, place], ends, color=look.colour, linewidth=1.6, alpha=0.6)
    shown = range(0, len(values), max(1, -(-len(values) // MOST_DATES)))
    labels = [f"{points[place].started_utc[5:10]}\n{points[place].commit}" for place in shown]
    axes.set_xticks(list(shown), labels, fontsize=7.5)
    top = max([*values, *(high for _low, high in intervals.values())])
    axes.set(xlim=(-0.6, len(values) - 0.4), ylim=(0, top * 1.1 or 1))
    axes.set_title(f"{case_name(case)}: {plural(len(values), 'run')}")


def tables(history: History) -> list[Table]:
    """A table per line of the history, oldest run first; narrow enough for 80 columns."""
    return [_table(f"{case_name(case)}: {history.metric}", points) for case, points in history.lines.items()]


def _table(title: str, points: Sequence[Point]) -> Table:
    found = Table(title=title, title_justify="left", min_width=78, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("started (UTC)", "commit"):
        found.add_column(name, no_wrap=True)
    for name in ("value", "95 % interval"):
        found.add_column(name, justify="right", no_wrap=True)
    for point in points:
        started = point.started_utc.rstrip("Z").replace("T", " ")
        ends = " to ".join(map(number, point.interval)) if point.interval else "-"
        found.add_row(started, point.commit, number(point.value), ends)
    return found
