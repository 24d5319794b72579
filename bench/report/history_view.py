"""A metric's history as a chart (a panel per case) and as tables in the terminal (a row per run)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bench.analysis.metrics import UNITS
from bench.analysis.reading import case_name
from bench.report.charts.canvas import figure
from bench.report.formatting import number, plural
from bench.report.history import History, Line
from bench.report.styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN, WIDTH_IN = 1.75, 5.6
MOST_DATES = 12  # that fit side by side


def draw(history: History, results: Path) -> list[Path]:
    """Write charts/history-<metric>.png and .svg into `results` and return both."""
    name, count = f"history-{history.metric.replace('.', '-')}", len(history.lines)
    metric = history.metric.partition(".")[0]
    unit = UNITS.get(metric, "ms" if metric.endswith("_ms") else "")
    with figure(results, name, PANEL_IN * count + 0.9, width_in=WIDTH_IN, nrows=count) as (drawing, axes):
        for line, panel in zip(history.lines, axes, strict=True):
            _draw_line(panel, line)
            panel.set_ylabel(f"[{unit}]")
        axes[-1].set_xlabel("runs, oldest first: date and commit (+ uncommitted changes)")
        title = f"{history.metric} over the runs of this machine; bars: 95 % intervals"
        drawing.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return [results / "charts" / f"{name}.{kind}" for kind in ("png", "svg")]


def _draw_line(panel: Axes, line: Line) -> None:
    look, values = style_of(line.case.strategy), [point.value for point in line.points]
    panel.plot(values, look.marker, color=look.colour, linestyle="-", linewidth=0.8, markersize=4)
    intervals = {place: point.interval for place, point in enumerate(line.points) if point.interval}
    for place, ends in intervals.items():
        panel.plot([place, place], ends, color=look.colour, linewidth=1.6, alpha=0.6)
    shown = range(0, len(values), max(1, -(-len(values) // MOST_DATES)))
    labels = [f"{line.points[place].started_utc[5:10]}\n{line.points[place].commit}" for place in shown]
    panel.set_xticks(list(shown), labels, fontsize=7.5)
    top = max([*values, *(high for _low, high in intervals.values())])
    panel.set(xlim=(-0.6, len(values) - 0.4), ylim=(0, top * 1.1 or 1))
    panel.set_title(f"{case_name(line.case)}: {plural(len(values), 'run')}")


def tables(history: History) -> list[Table]:
    """A table per line of the history, oldest run first; narrow enough for 80 columns."""
    return [_table(line, history.metric) for line in history.lines]


def _table(line: Line, metric: str) -> Table:
    title = f"{case_name(line.case)}: {metric}"
    found = Table(title=title, title_justify="left", min_width=78, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("started (UTC)", "commit"):
        found.add_column(name, no_wrap=True)
    for name in ("value", "95 % interval"):
        found.add_column(name, justify="right", no_wrap=True)
    for point in line.points:
        started = point.started_utc.rstrip("Z").replace("T", " ")
        ends = " to ".join(map(number, point.interval)) if point.interval else "-"
        found.add_row(started, point.commit, number(point.value), ends)
    return found
