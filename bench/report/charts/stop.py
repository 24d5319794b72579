"""Charts of how long a stop takes: curves of all stops and of the slowest, median and tail by scenario."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from bench.analysis.comparison import STOP
from bench.analysis.ranking import interval_of, median, value_of
from bench.record.summary import Metric, SummaryCase
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, style_of
from bench.report.charts.data import Panel
from bench.report.formatting import number, span
from bench.stats.ecdf import ecdf_band
from bench.stats.percentiles import interval95

Points = NDArray[np.float64]
Limits = tuple[float, float]
MOST_POINTS, LAST_POINTS = 120, 40
PANELS_PER_PICTURE = 2
MARKS = (10, 100, 1000)
SURE = 3.7  # aborts needed per 1 in N for that quantile's 95 % interval: 368 for 1 in 100


def draw_ecdf(out: Path, panels: Sequence[Panel], floor: Metric | None, limits: Limits) -> Chart:
    """Share of the counted aborts that had stopped the upstream by a time, with its 95 % band; missed ones never do."""
    if not panels:
        return canvas.left_out("stop-ecdf")
    names = {name for panel in panels for name in panel.strategies}
    with canvas.figure(out, "stop-ecdf", 3.4 * len(panels) + 0.2, legend=names, nrows=len(panels)) as every:
        for panel, axes in zip(panels, every, strict=True):
            canvas.plain_ticks(axes)
            axes.set(xlim=limits, ylim=(-0.03, 1.05), ylabel="share of aborts")
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.set_title(f"{panel.title}; n = {span([case.aborts for case in panel.cases])} aborts; band: 95 %")
            for case in panel.cases:
                look, stops_ms = style_of(case.strategy), panel.samples(case.strategy, STOP)
                x, share, low, high = (thin(each, MOST_POINTS) for each in curve_of(stops_ms, case.aborts, limits))
                axes.plot(x, share, drawstyle="steps-post", linewidth=1.6, markevery=(0.06, 0.22), **look.curve)
                band: dict[str, Any] = {"step": "post", "alpha": 0.13, "linewidth": 0, "rasterized": True}
                axes.fill_between(x, low, high, color=look.colour, **band)
            canvas.floor_line(axes, floor)
    return canvas.chart("stop-ecdf", cases=panels[0].cases)


def curve_of(stops_ms: Sequence[float], aborts: int, limits: Limits) -> tuple[Points, Points, Points, Points]:
    """`(x, share, low, high)` of F(t) = stops within t / all counted aborts, drawn from limit to limit.

    A missed abort (and one that was obeyed before the upstream was asked) has no stop but counts in the denominator:
    with misses F ends below 1.
    """
    x, *shares = ecdf_band(stops_ms, aborts - len(stops_ms))
    share, low, high = (np.concatenate([[0.0], each, [each[-1] if len(x) else 0.0]]) for each in shares)
    return np.concatenate([[limits[0]], x, [limits[1]]]), share, low, high


def thin(values: Points, most: int) -> Points:
    """At most `most` of the values, evenly chosen, both ends kept."""
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def draw_tail(out: Path, panels: Sequence[Panel], floor: Metric | None, limits: Limits) -> Chart:
    """Stop latency (log) over "1 in N aborts takes at least as long"; a missed abort takes infinitely long."""
    shown = [panel for panel in panels if any(case.aborts > case.missed for case in panel.cases)]
    if not shown:
        return canvas.left_out("stop-tail")
    names = {case.strategy for panel in shown for case in panel.cases if case.aborts > case.missed}
    with canvas.figure(out, "stop-tail", 3.6 * len(shown) + 0.4, legend=names, nrows=len(shown)) as every:
        for panel, axes in zip(shown, every, strict=True):
            most = max(20, *(case.aborts for case in panel.cases))
            axes.set(xlim=(1.0, most * 1.15), ylim=limits, ylabel="at least this slow  [ms, log]")
            canvas.plain_ticks(axes, "xy")
            axes.set_xticks([n for n in (2, *MARKS) if n <= most])
            axes.xaxis.set_major_formatter(lambda n, _position: f"1 in {n:,.0f}")
            axes.set_title(f"{panel.title}, up to {most:,} aborts each")
            canvas.floor_line(axes, floor, "y")
            for place, case in enumerate(panel.cases):
                if stops_ms := sorted(panel.samples(case.strategy, STOP)):
                    _draw_tail(axes, stops_ms, case, 1.04 ** (place % 5 - 2))
    return canvas.chart("stop-tail", cases=[case for panel in shown for case in panel.cases])


def _draw_tail(axes: Axes, stops_ms: Sequence[float], case: SummaryCase, shift: float) -> None:
    """Intervals are shifted by this factor, else those of equal strategies would overlap."""
    look = style_of(case.strategy)
    one_in, slow = tail_curve(np.asarray(stops_ms), case.aborts)
    sure = int(np.count_nonzero(one_in <= case.aborts / SURE))
    axes.plot(one_in[:sure], slow[:sure], linewidth=1.6, markevery=(0.05, 0.22), **look.curve)
    faint = slice(max(0, sure - 1), None)
    axes.plot(one_in[faint], slow[faint], color=look.colour, linestyle=look.line, linewidth=1.6, alpha=0.3)
    for n in MARKS:
        ends = interval95([*stops_ms, *[math.inf] * case.missed], 1 - 1 / n)
        if ends and math.isfinite(ends[1]):
            bar: dict[str, Any] = {"linewidth": 3.2, "alpha": 0.45, "solid_capstyle": "butt"}
            axes.plot([n * shift, n * shift], ends, color=look.colour, **bar)
    if case.missed:
        axes.plot(one_in[-1], slow[-1], "x", color=look.colour, markersize=7, markeredgewidth=2)


def tail_curve(stops_ms: Points, aborts: int) -> tuple[Points, Points]:
    """`(N, ms)`: 1 in N aborts took at least that long, from all of them to the slowest stop; `stops_ms` is sorted.

    A missed abort is slower than every stop: with m of them the curve ends at aborts / (m + 1).
    """
    as_slow = aborts - np.arange(len(stops_ms))  # aborts that took as long as the i-th stop, or longer
    # The end is what matters: its last points are all kept.
    spread = thin(np.arange(len(stops_ms), dtype=np.float64), MOST_POINTS).astype(int)
    places = np.union1d(spread, np.arange(max(0, len(stops_ms) - LAST_POINTS), len(stops_ms)))
    return aborts / as_slow[places], stops_ms[places]


def draw_by_scenario(out: Path, panels: Sequence[Panel], floor: Metric | None, limits: Limits) -> list[Chart]:
    """Median with its interval and the 95th percentile, a row per strategy; a picture for each two scenarios."""
    charts = []
    for name, some in pictures("stop-by-scenario", panels):
        names = {name for panel in some for name in panel.strategies}
        tall = canvas.height(len(some), len(names), canvas.TWO_LINES_IN)
        with canvas.figure(out, name, tall, nrows=len(some), sharex=True) as every:
            for panel, axes in zip(some, every, strict=True):
                row_of = canvas.strategy_rows(axes, names, "p50 / p95 (n)")
                for case in panel.cases:
                    _draw_row(axes, panel, case, row_of[case.strategy])
                canvas.plain_ticks(axes)
                axes.set(xlim=limits)
                canvas.floor_line(axes, floor)
                axes.set_title(panel.title)
                axes.tick_params(labelbottom=True)
        charts.append(canvas.chart(name, cases=[case for panel in some for case in panel.cases]))
    return charts or [canvas.left_out("stop-by-scenario")]


def pictures(name: str, items: Sequence[Any]) -> list[tuple[str, Sequence[Any]]]:
    """Names of pictures and what each shows: PANELS_PER_PICTURE of the items."""
    starts = range(0, len(items), PANELS_PER_PICTURE)
    parts = [items[start : start + PANELS_PER_PICTURE] for start in starts]
    return [(f"{name}-{count}" if count > 1 else name, part) for count, part in enumerate(parts, 1)]


def _draw_row(axes: Axes, panel: Panel, case: SummaryCase, row: int) -> None:
    look, n, p95 = style_of(case.strategy), value_of(case, key="n"), value_of(case, key="p95")
    if not n:
        canvas.note(axes, row, f"all {case.aborts} missed" if case.aborts else "no aborts", canvas.GREY)
    elif value_of(case) is None:
        samples = panel.samples(case.strategy, STOP)
        axes.plot(samples, [row] * len(samples), look.marker, color=look.colour, markersize=3.5, fillstyle="none")
        canvas.note(axes, row, f"n = {n}: too few", canvas.GREY)
    else:
        if p95 is not None:
            axes.plot([median(case), p95], [row, row], color=look.colour, linewidth=1.1)
            axes.plot(p95, row, "|", color=look.colour, markersize=10, markeredgewidth=1.4)
        canvas.mark(axes, median(case), row, case.strategy, interval_of(case))
        missed = f"\n{case.missed} missed" if case.missed else ""
        canvas.note(axes, row, f"{number(median(case))} / {number(p95)}  ({n}){missed}")
