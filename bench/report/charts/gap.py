"""Charts of the stop against the time between tokens: poll waits for the next token, a timer for its tick."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bench.analysis.metrics import NS_PER_MS
from bench.analysis.moments import Moment
from bench.analysis.ranking import interval_of, median, ranked
from bench.record.schema import CaseKey
from bench.record.summary import Metric, SummaryCase
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, style_of
from bench.report.charts.data import Panel
from bench.report.charts.stop import Points, thin
from bench.report.formatting import span
from bench.stats.percentiles import interval95

MOST_DOTS, BINS, LEAST_STOPS, LEAST_IN_QUARTER = 160, 8, 5, 5


def draw_gap(out: Path, panel: Panel | None, moments: Sequence[Moment], itl_ms: float) -> Chart:
    """Dots: stops over the time since the last token; lines: medians of eighths of the gap, with their intervals."""
    cases = panel.cases if panel and itl_ms else []
    every = {case.strategy: _in_gap(moments, case.key, itl_ms) for case in cases}
    found = {name: pairs for name, pairs in every.items() if len(pairs) >= LEAST_STOPS}
    if not found or panel is None:
        return canvas.left_out("stop-in-gap")
    with canvas.figure(out, "stop-in-gap", 4.4, legend=found, x={"itl_ms": itl_ms}) as (axes,):
        for name, pairs in found.items():
            _draw_dots(axes, name, pairs, itl_ms)
        limits = canvas.log_limits(stop_ms for pairs in found.values() for stop_ms in pairs[:, 1])
        axes.set(xlim=(0, itl_ms * 1.02), ylim=limits, ylabel="abort sent → upstream lost  [ms, log]")
        canvas.plain_ticks(axes, "y")
        axes.set_title(
            f"{panel.title}; n = {span([len(pairs) for pairs in found.values()])} stops each\n"
            "lines: medians of eighths of the gap, band: 95 % interval"
        )
    return canvas.chart("stop-in-gap", quarters=_quarters(found, itl_ms))


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
    dots: dict[str, Any] = {"markersize": 2.6, "alpha": 0.3, "linewidth": 0, "rasterized": True}
    axes.plot(shown[:, 0], shown[:, 1], look.marker, color=look.colour, **dots)
    bins = np.minimum((pairs[:, 0] / itl_ms * BINS).astype(int), BINS - 1)
    line = [
        ((number + 0.5) / BINS * itl_ms, float(np.median(pairs[bins == number, 1])), *ends)
        for number in range(BINS)
        if (ends := interval95(pairs[bins == number, 1].tolist(), 0.5))
    ]
    x, middle, low, high = np.asarray(line).reshape(-1, 4).T
    axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(x, middle, linewidth=1.8, **look.curve)


def _quarters(found: Mapping[str, Points], itl_ms: float) -> list[tuple[str, Any]]:
    """Median stop and interval in the first and last quarter of the gap, where they differ most, and least."""
    ratios, quarters = {}, {}
    for name, pairs in found.items():
        since, stops = pairs.T
        parts = [stops[since < itl_ms / 4].tolist(), stops[since >= 3 * itl_ms / 4].tolist()]
        if min(map(len, parts)) >= LEAST_IN_QUARTER:
            quarters[name] = [(statistics.median(part), interval95(part, 0.5)) for part in parts]
            ratios[name] = quarters[name][0][0] / max(quarters[name][1][0], 1e-9)
    names = [max(ratios, key=ratios.__getitem__), min(ratios, key=lambda name: abs(ratios[name] - 1))] if ratios else []
    return [(name, quarters[name]) for name in dict.fromkeys(names)]


def draw_pace(out: Path, by_pace: Mapping[float, Sequence[SummaryCase]], floor: Metric | None) -> Chart:
    """Median stop with its interval over the time between tokens; `by_pace` has one scenario's cases per pace."""
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    for itl_ms, cases in by_pace.items():
        for case in ranked(cases):
            ends = interval_of(case) or (median(case), median(case))
            points.setdefault(case.strategy, []).append((itl_ms, median(case), *ends))
    if len(by_pace) < 2 or not points:
        return canvas.left_out("stop-by-pace")
    seen = [value for each in points.values() for point in each for value in point[2:]]
    with canvas.figure(out, "stop-by-pace", 4.4, legend=points) as (axes,):
        canvas.plain_ticks(axes, "xy")
        paces, limits = list(by_pace), canvas.log_limits([*seen, (floor and floor.p50) or seen[0]])
        axes.set(xlim=(paces[0] / 1.6, paces[-1] * 1.6), ylim=limits, ylabel="median stop  [ms, log]")
        axes.set_xticks(paces)
        axes.minorticks_off()
        axes.plot(paces, [itl_ms / 2 for itl_ms in paces], color="#888888", linewidth=5, alpha=0.25, zorder=1)
        for name, each in points.items():
            x, p50, low, high = np.asarray(each).T
            axes.errorbar(x, p50, yerr=np.abs([low - p50, high - p50]), capsize=2, **style_of(name).curve)
        canvas.floor_line(axes, floor, "y")
        names = ", ".join(f"{cases[0].scenario} {itl_ms:g} ms" for itl_ms, cases in by_pace.items())
        axes.set_title(f"{names}\nbars: 95 % intervals; grey: half the time between tokens")
    known = [(name, each[0], each[-1]) for name, each in points.items() if len(each) > 1 and each[0][1] > 0]
    return canvas.chart("stop-by-pace", growth=[(slow[1] / fast[1], name, fast, slow) for name, fast, slow in known])
