"""Charts of the stop against the time between tokens: poll waits for the next token, a timer for its tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from bench.analysis.moments import NS_PER_MS, Moment
from bench.record.schema import CaseKey
from bench.record.summary import Metric, SummaryCase
from bench.report.captions import gap_reading, pace_reading
from bench.report.cases import interval_of, ranked, value_of
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart
from bench.report.charts.data import Panel
from bench.report.charts.stop import Points, thin
from bench.report.formatting import span
from bench.report.styles import style_of
from bench.stats.percentiles import interval95

GAP, PACE = "stop-in-gap", "stop-by-pace"
MOST_DOTS, BINS, LEAST_STOPS = 160, 8, 5


def draw_gap(folder: Path, panel: Panel | None, moments: Sequence[Moment], itl_ms: float) -> Chart:
    """Dots: stops over the time since the last token; lines: medians of eighths of the gap, with their intervals."""
    cases = panel.cases if panel and itl_ms else []
    every = {case.strategy: _in_gap(moments, case.key, itl_ms) for case in cases}
    found = {name: pairs for name, pairs in every.items() if len(pairs) >= LEAST_STOPS}
    if not found or panel is None:
        return canvas.left_out(GAP, "no abort fell between two tokens and stopped its chat")
    with canvas.figure(folder, GAP, 4.4 + canvas.legend_height(len(found))) as (drawing, (axes, *_rest)):
        for name, pairs in found.items():
            _draw_dots(axes, name, pairs, itl_ms)
        limits = canvas.log_limits(stop_ms for pairs in found.values() for stop_ms in pairs[:, 1])
        axes.set(xlim=(0, itl_ms * 1.02), ylim=limits, ylabel="abort sent → upstream lost  [ms, log]")
        canvas.plain_ticks(axes, "y")
        axes.set_xlabel(f"ms between the last token and the abort\nthe next token is due at {itl_ms:g} ms")
        axes.set_title(
            f"{panel.title}; n = {span([len(pairs) for pairs in found.values()])} stops each\n"
            "lines: medians of eighths of the gap, band: 95 % interval"
        )
        canvas.legend_of(drawing, found)
    return Chart(GAP, gap_reading({name: [tuple(pair) for pair in pairs] for name, pairs in found.items()}, itl_ms))


def _in_gap(moments: Sequence[Moment], key: CaseKey, itl_ms: float) -> Points:
    """Pairs (ms since the last token, ms to the stop), ordered; without aborts in a pause or before any token."""
    pairs = [
        (each.since_token_ms, (each.lost_ns - each.sent_ns) / NS_PER_MS)
        for each in moments
        if each.key == key and each.lost_ns is not None
        and each.since_token_ms is not None and each.since_token_ms <= itl_ms
    ]  # fmt: skip
    return np.asarray(sorted(pairs), dtype=float).reshape(-1, 2)


def _draw_dots(axes: Axes, strategy: str, pairs: Points, itl_ms: float) -> None:
    look, shown = style_of(strategy), thin(pairs, MOST_DOTS)
    dots = {"markersize": 2.6, "alpha": 0.3, "linewidth": 0}
    axes.plot(shown[:, 0], shown[:, 1], look.marker, color=look.colour, rasterized=True, **dots)  # type: ignore[arg-type]
    bins = np.minimum((pairs[:, 0] / itl_ms * BINS).astype(int), BINS - 1)
    line = [
        ((number + 0.5) / BINS * itl_ms, float(np.median(pairs[bins == number, 1])), *ends)
        for number in range(BINS)
        if (ends := interval95(pairs[bins == number, 1].tolist(), 0.5))
    ]
    x, middle, low, high = np.asarray(line).reshape(-1, 4).T
    axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(x, middle, linewidth=1.8, **look.curve)


def draw_pace(folder: Path, by_pace: Mapping[float, Sequence[SummaryCase]], floor: Metric | None) -> Chart:
    """Median stop with its interval over the time between tokens; `by_pace` has one scenario's cases per pace."""
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    for itl_ms, cases in by_pace.items():
        for case in ranked(cases):
            p50 = value_of(case) or 0.0
            points.setdefault(case.strategy, []).append((itl_ms, p50, *(interval_of(case) or (p50, p50))))
    if len(by_pace) < 2 or not points:
        return canvas.left_out(PACE, "all scenarios with aborts in mid-answer have the same time between tokens")
    ends = [value for each in points.values() for point in each for value in point[2:]]
    with canvas.figure(folder, PACE, 4.4 + canvas.legend_height(len(points))) as (drawing, (axes, *_rest)):
        canvas.plain_ticks(axes)
        canvas.plain_ticks(axes, "y")
        paces = list(by_pace)
        axes.set(
            xlim=(paces[0] / 1.6, paces[-1] * 1.6), ylim=canvas.log_limits([*ends, (floor and floor.p50) or ends[0]])
        )
        axes.set_xticks(paces)
        axes.minorticks_off()
        axes.plot(paces, [itl_ms / 2 for itl_ms in paces], color="#888888", linewidth=5, alpha=0.25, zorder=1)
        for name, each in points.items():
            look, (x, p50, low, high) = style_of(name), np.asarray(each).T
            axes.errorbar(x, p50, yerr=np.abs([low - p50, high - p50]), capsize=2, **look.curve)
        axes.set(xlabel="time between tokens  [ms, log]", ylabel="median stop  [ms, log]")
        canvas.floor_line(axes, floor, "y")
        names = ", ".join(f"{cases[0].scenario} {itl_ms:g} ms" for itl_ms, cases in by_pace.items())
        axes.set_title(f"{names}\nbars: 95 % intervals; grey: half the time between tokens")
        canvas.legend_of(drawing, points)
    return Chart(PACE, pace_reading(points))
