"""Chart of the tail: how slow the slowest one in ten, in a hundred, in a thousand stops is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.summary import interval95
from bench.report.captions_stop import tail_reading
from bench.report.charts.canvas import Case, Chart, Floor, Panel, figure, floor_line, left_out, plain_ticks
from bench.report.charts.labels import Named, Points, name_curves, thin
from bench.report.styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME, TITLE = "stop-tail", "How slow the slowest stops are"
MOST_POINTS, LAST_POINTS = 300, 40
MARKS = (10, 100, 1000)
SURE = 3.7  # aborts needed per 1 in N for that quantile's 95 % interval: 368 for 1 in 100


def draw_tail(folder: Path, panels: Sequence[Panel], floor: Floor, limits: tuple[float, float]) -> Chart:
    """Stop latency (log) over "1 in N aborts takes at least as long"; a missed abort takes for ever."""
    shown = [panel for panel in panels if any(case["aborts"] > case["missed"] for case in panel.cases)]
    if not shown:
        return left_out(NAME, TITLE, "no abort stopped anything")
    with figure(folder, NAME, 3.9 * len(shown) + 0.3, nrows=len(shown)) as (_drawing, axes):
        curves = []
        for panel, panel_axes in zip(shown, axes, strict=True):
            most = max(20, *(case["aborts"] for case in panel.cases))
            panel_axes.set(xlim=(1.0, most * 1.15), ylim=limits, ylabel="at least this slow  [ms, log]")
            plain_ticks(panel_axes)
            plain_ticks(panel_axes, "y")
            panel_axes.set_xticks([n for n in (2, *MARKS) if n <= most])
            panel_axes.xaxis.set_major_formatter(lambda n, _position: f"1 in {n:,.0f}")
            panel_axes.set_title(f"{panel.title}, up to {most:,} aborts each")
            floor_line(panel_axes, floor, "y")
            curves.append([_draw(panel_axes, panel, case, place) for place, case in enumerate(panel.cases)])
        axes[-1].set_xlabel(
            "share of the aborts  [log]\nbars: 95 % intervals; faint: too few for one\ncross: all beyond were missed"
        )
        name_curves([
            (panel_axes, [curve for curve in drawn if curve]) for panel_axes, drawn in zip(axes, curves, strict=True)
        ])  # fmt: skip
    return Chart(NAME, TITLE, tail_reading([case for panel in shown for case in panel.cases]))


def _draw(axes: Axes, panel: Panel, case: Case, place: int) -> Named | None:
    look = style_of(case["strategy"])
    stops = np.asarray(sorted(panel.samples(case["strategy"], "upstream_stop_ms")), dtype=np.float64)
    if not len(stops):
        return None
    one_in, slow = tail_curve(stops, case["aborts"])
    sure = int(np.count_nonzero(one_in <= case["aborts"] / SURE))
    line: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "linewidth": 1.6}
    axes.plot(one_in[:sure], slow[:sure], **line)
    axes.plot(one_in[max(0, sure - 1) :], slow[max(0, sure - 1) :], **line, alpha=0.3)
    every = [*stops.tolist(), *[math.inf] * case["missed"]]
    for n in MARKS:
        ends = interval95(every, 1 - 1 / n)
        if ends and math.isfinite(ends[1]):
            beside = n * 1.04 ** (place % 5 - 2)  # else the bars of equals would lie on one another
            axes.plot([beside, beside], ends, color=look.colour, linewidth=3.2, alpha=0.45, solid_capstyle="butt")
    if case["missed"]:
        axes.plot(one_in[-1], slow[-1], "x", color=look.colour, markersize=7, markeredgewidth=2)
    return Named(case["strategy"], look.colour, np.column_stack([one_in, slow]), line=look.line)


def tail_curve(stops_ms: Points, aborts: int) -> tuple[Points, Points]:
    """`(N, ms)`: 1 in N aborts took at least that long, from all of them to the rarest that still was stopped.

    `stops_ms` is sorted. A missed abort is slower than every stop: with m of them the curve ends at aborts / (m + 1).
    """
    as_slow = aborts - np.arange(len(stops_ms))  # how many aborts took as long as the i-th stop, or longer
    # The end is where one looks: its last points are all kept, however many lie before them.
    spread = thin(np.arange(len(stops_ms), dtype=np.float64), MOST_POINTS).astype(int)
    places = np.union1d(spread, np.arange(max(0, len(stops_ms) - LAST_POINTS), len(stops_ms)))
    return aborts / as_slow[places], stops_ms[places]
