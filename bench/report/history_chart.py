"""Draw a metric's history: a panel per case, a line over the runs with the interval of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.analysis.metrics import UNITS
from bench.analysis.reading import case_name
from bench.report.charts.canvas import figure
from bench.report.history import History, Line
from bench.report.styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 1.75
LABELS = 12
"""So many dates fit side by side."""


def draw(history: History, results: Path) -> list[Path]:
    """Write charts/history-<metric>.png and .svg into `results` and return both."""
    name = f"history-{history.metric.replace('.', '-')}"
    with figure(results, name, PANEL_IN * len(history.lines) + 0.9, 5.6, nrows=len(history.lines)) as (drawing, axes):
        for line, panel in zip(history.lines, axes, strict=True):
            _draw_line(panel, line)
            panel.set_ylabel(f"[{unit_of(history.metric)}]")
        axes[-1].set_xlabel("runs, oldest first: date and commit (+ uncommitted changes)")
        title = f"{history.metric} over the runs of this machine; bars: 95 % intervals"
        drawing.suptitle(title, fontsize=10.5, x=0.01, ha="left")
    return [results / "charts" / f"{name}.{kind}" for kind in ("png", "svg")]


def unit_of(metric: str) -> str:
    """The unit of `name.statistic`."""
    name = metric.partition(".")[0]
    return UNITS.get(name, "ms" if name.endswith("_ms") else "")


def _draw_line(panel: Axes, line: Line) -> None:
    look, values = style_of(line.case.strategy), [point.value for point in line.points]
    places = range(len(values))
    panel.plot(places, values, look.marker, color=look.colour, linestyle="-", linewidth=0.8, markersize=4)
    for place, point in enumerate(line.points):
        if point.interval:
            panel.plot([place, place], point.interval, color=look.colour, linewidth=1.6, alpha=0.6)
    top = max([*values, *(point.interval[1] for point in line.points if point.interval)])
    panel.set_ylim(0, top * 1.1 or 1)
    every = max(1, -(-len(values) // LABELS))
    shown = list(places)[::every]
    labels = [f"{line.points[place].started_utc[5:10]}\n{line.points[place].commit}" for place in shown]
    panel.set_xticks(shown, labels, fontsize=7.5)
    panel.set_xlim(-0.6, len(values) - 0.4)
    panel.set_title(f"{case_name(line.case)}: {len(values)} run{'s' if len(values) != 1 else ''}")
