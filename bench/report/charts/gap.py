"""Charts of stop latency against the time between tokens: poll waits for the next one, a timer for its tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.moments import NS_PER_MS, Moment
from bench.analysis.reading import CaseKey, case_key
from bench.report.captions_stop import gap_reading, pace_reading
from bench.report.charts.canvas import Case, Chart, Floor, Panel, figure, floor_line, left_out, log_limits, plain_ticks
from bench.report.charts.labels import Named, Points, name_curves, thin
from bench.report.formatting import span
from bench.report.styles import style_of
from bench.stats.percentiles import interval95

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP, GAP_TITLE = "stop-in-gap", "When in the gap between two tokens Stop is pressed"
PACE, PACE_TITLE = "stop-by-pace", "Faster or slower tokens"
MOST_DOTS, BINS, LEAST_STOPS = 160, 8, 5


def draw_gap(folder: Path, panel: Panel | None, moments: Sequence[Moment], itl_ms: float) -> Chart:
    """Dots: stops over the time since the last token; lines: medians of eighths of the gap, with their intervals."""
    cases = panel.cases if panel and itl_ms else []
    found = {case["strategy"]: _in_gap(moments, case_key(case), itl_ms) for case in cases}
    found = {name: pairs for name, pairs in found.items() if len(pairs) >= LEAST_STOPS}
    if not found or panel is None:
        return left_out(GAP, GAP_TITLE, "no abort fell between two tokens and stopped its chat")
    with figure(folder, GAP, 4.6) as (_drawing, (axes, *_rest)):
        curves = [_draw_dots(axes, name, pairs, itl_ms) for name, pairs in found.items()]
        limits = log_limits([stop_ms for pairs in found.values() for stop_ms in pairs[:, 1]])
        axes.set(xlim=(0, itl_ms * 1.02), ylim=limits, ylabel="abort sent → upstream lost  [ms, log]")
        plain_ticks(axes, "y")
        axes.set_xlabel(f"ms since the last token when Stop was pressed\nthe next one is due at {itl_ms:g} ms")
        axes.set_title(
            f"{panel.title}; n = {span([*map(len, found.values())])} stops each\n"
            "lines: medians of eighths of the gap, band: 95 % interval"
        )
        name_curves([(axes, curves)])
    return Chart(
        GAP, GAP_TITLE, gap_reading({name: [tuple(pair) for pair in pairs] for name, pairs in found.items()}, itl_ms)
    )


def _in_gap(moments: Sequence[Moment], key: CaseKey, itl_ms: float) -> Points:
    """Pairs (ms since the last token, ms to the stop), by the first; aborts in a stall or before any token left out."""
    pairs = [
        (each.since_token_ms, (each.lost_ns - each.sent_ns) / NS_PER_MS)
        for each in moments
        if each.key == key and each.lost_ns is not None
        and each.since_token_ms is not None and each.since_token_ms <= itl_ms
    ]  # fmt: skip
    return np.asarray(sorted(pairs), dtype=float).reshape(-1, 2)


def _draw_dots(axes: Axes, strategy: str, pairs: Points, itl_ms: float) -> Named:
    look, shown = style_of(strategy), thin(pairs, MOST_DOTS)
    axes.plot(
        shown[:, 0],
        shown[:, 1],
        look.marker,
        color=look.colour,
        markersize=2.6,
        alpha=0.3,
        linewidth=0,
        rasterized=True,
    )
    bins = np.minimum((pairs[:, 0] / itl_ms * BINS).astype(int), BINS - 1)
    line = [
        ((number + 0.5) / BINS * itl_ms, float(np.median(pairs[bins == number, 1])), *ends)
        for number in range(BINS)
        if (ends := interval95(pairs[bins == number, 1].tolist(), 0.5))
    ]
    medians = np.asarray(line or [(*pairs[len(pairs) // 2], np.nan, np.nan)])
    axes.fill_between(medians[:, 0], medians[:, 2], medians[:, 3], color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(medians[:, 0], medians[:, 1], color=look.colour, linestyle=look.line, linewidth=1.8)
    return Named(strategy, look.colour, medians[:, :2], line=look.line, marker=look.marker)


def draw_pace(folder: Path, by_pace: Mapping[float, Sequence[Case]], floor: Floor) -> Chart:
    """Median stop with its interval over the time between tokens; `by_pace` holds one scenario's cases per pace."""
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    for itl_ms, cases in sorted(by_pace.items()):
        for case in cases:
            stop = case["metrics"].get("upstream_stop_ms")
            if stop and stop["p50"] is not None:
                low, high = stop["ci95"]["p50"]
                points.setdefault(case["strategy"], []).append((itl_ms, stop["p50"], low, high))
    if len(by_pace) < 2 or not points:
        return left_out(PACE, PACE_TITLE, "all scenarios with aborts in mid-answer have the same time between tokens")
    ends = [value for each in points.values() for _itl, _p50, *both in each for value in both]
    limits = log_limits([*ends, *([floor["p50"]] if floor and floor.get("p50") else [])])
    with figure(folder, PACE, 4.6) as (_drawing, (axes, *_rest)):
        plain_ticks(axes)
        plain_ticks(axes, "y")
        paces = sorted(by_pace)
        axes.set(xlim=(paces[0] / 1.6, paces[-1] * 1.6), ylim=limits)
        axes.set_xticks(paces)
        axes.minorticks_off()
        axes.plot(paces, [itl_ms / 2 for itl_ms in paces], color="#888888", linewidth=5, alpha=0.25, zorder=1)
        curves = [_draw_pace(axes, name, np.asarray(each)) for name, each in points.items()]
        axes.set(xlabel="time between tokens  [ms, log]", ylabel="median stop  [ms, log]")
        floor_line(axes, floor, "y")
        names = ", ".join(f"{cases[0]['scenario']} {itl_ms:g} ms" for itl_ms, cases in sorted(by_pace.items()))
        axes.set_title(f"{names}\nbars: 95 % intervals; grey: half the time between tokens")
        name_curves([(axes, curves)])
    return Chart(PACE, PACE_TITLE, pace_reading(points))


def _draw_pace(axes: Axes, strategy: str, each: Points) -> Named:
    look = style_of(strategy)
    spread = np.abs(each[:, 2:].T - each[:, 1])
    line: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "markersize": 5}
    axes.errorbar(each[:, 0], each[:, 1], yerr=spread, capsize=2, **line)
    return Named(strategy, look.colour, each[:, :2], line=look.line, marker=look.marker)
