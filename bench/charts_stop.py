"""Charts of how long a stop takes: the ECDF per strategy, and median and tail by scenario."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from bench.captions import number, scenario_reading, stop_reading
from bench.charts_canvas import (
    Case,
    Chart,
    Panel,
    figure,
    height,
    log_limits,
    margin_note,
    plain_log,
    strategy_rows,
)
from bench.styles import style_of

STOP_LABEL = "abort sent → upstream connection lost  [ms, log]"


def draw_ecdf(folder: Path, panels: Sequence[Panel]) -> Chart:
    """Share of the counted aborts that had stopped the upstream by a time; missed ones never arrive."""
    name, title = "stop-ecdf", "How many aborts had stopped the upstream by when"
    if not panels:
        return Chart(name, title, "Not drawn: no scenario with aborts was run.", drawn=False)
    limits = log_limits([value for panel in panels for value in panel.chats["upstream_stop_ms"].dropna()])
    legend_in = 0.1 * max(len(panel.cases) for panel in panels) + 0.3
    with figure(folder, name, len(panels) * (2.7 + legend_in), nrows=len(panels)) as (_drawing, axes):
        for panel, panel_axes in zip(panels, axes, strict=True):
            for position, case in enumerate(panel.cases):
                samples = panel.samples(case["strategy"], "upstream_stop_ms")
                _draw_curve(panel_axes, case, np.sort(samples.to_numpy(dtype=float)), limits, position)
            plain_log(panel_axes)
            panel_axes.set(xlim=limits, ylim=(-0.02, 1.04), xlabel=STOP_LABEL, ylabel="share of aborts")
            panel_axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            panel_axes.set_title(panel.title)
            panel_axes.legend(
                loc="upper center", bbox_to_anchor=(0.45, -0.2), ncol=2, handlelength=3.2, columnspacing=1.2
            )
    return Chart(name, title, stop_reading(panels[0].cases))


def _draw_curve(axes: Axes, case: Case, stops_ms: np.ndarray, limits: tuple[float, float], position: int) -> None:
    """One strategy's curve: it ends at the share that was stopped, since missed aborts are censored, not left out."""
    look = style_of(case["strategy"])
    x, y = censored_ecdf(stops_ms, case["aborts"], limits)
    missed = f", {case['missed']} missed" if case["missed"] else ""
    axes.plot(
        x,
        y,
        drawstyle="steps-post",
        color=look.colour,
        linestyle=look.line,
        linewidth=1.6,
        marker=look.marker,
        markersize=4.5,
        # Apart from each other, so that curves that lie on one another still show whose they are.
        markevery=_marked(len(stops_ms), position),
        label=f"{case['strategy']}: n = {len(stops_ms)}{missed}",
    )


def _marked(stops: int, position: int) -> list[int]:
    """Which corners carry a marker: about five, on the stops only, elsewhere for each strategy."""
    return (
        [1 + int((place + 0.02 * (position % 7)) * stops) for place in (0.05, 0.25, 0.45, 0.65, 0.85)] if stops else []
    )


def censored_ecdf(stops_ms: np.ndarray, aborts: int, limits: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Corners of F(t) = stops within t / all counted aborts, from the left limit to the right one.

    A missed abort stays in the denominator and never arrives, so with misses F ends below 1.
    """
    heights = np.arange(1, len(stops_ms) + 1) / max(aborts, 1)
    x = np.concatenate([[limits[0]], stops_ms, [limits[1]]])
    y = np.concatenate([[0.0], heights, [heights[-1] if len(heights) else 0.0]])
    return x, y


def draw_by_scenario(folder: Path, panels: Sequence[Panel]) -> Chart:
    """Median with its interval and the 95th percentile, one panel per scenario, one row per strategy."""
    name, title = "stop-by-scenario", "Median and tail of the stop, by scenario"
    if not panels:
        return Chart(name, title, "Not drawn: no scenario with aborts was run.", drawn=False)
    strategies = [case["strategy"] for panel in panels for case in panel.cases]
    rows = len(set(strategies))
    limits = log_limits([value for panel in panels for value in panel.chats["upstream_stop_ms"].dropna()])
    with figure(folder, name, height(len(panels), rows), nrows=len(panels), sharex=True) as (_drawing, axes):
        for panel, panel_axes in zip(panels, axes, strict=True):
            row_of = strategy_rows(panel_axes, strategies)
            margin_note(panel_axes, -0.85, "p50 / p95", fontweight="bold")
            for case in panel.cases:
                _draw_row(panel_axes, panel, case, row_of[case["strategy"]])
            plain_log(panel_axes)
            panel_axes.set(xlim=limits)
            panel_axes.set_title(panel.title)
            panel_axes.tick_params(labelbottom=True)
        axes[-1].set_xlabel(f"{STOP_LABEL}\nmarker p50, thick bar its 95 % interval, thin line up to p95")
    return Chart(name, title, scenario_reading([case for panel in panels for case in panel.cases]))


def _draw_row(axes: Axes, panel: Panel, case: Case, row: int) -> None:
    stop, look = case["metrics"].get("upstream_stop_ms"), style_of(case["strategy"])
    if stop is None or not stop["n"]:
        margin_note(axes, row, f"all {case['aborts']} missed" if case["aborts"] else "no aborts", color="#666666")
        return
    note = f"{number(stop['p50'])} / {number(stop['p95'])}"
    note += f"  {case['missed']} missed" if case["missed"] else ""
    if stop["p50"] is None:
        samples = panel.samples(case["strategy"], "upstream_stop_ms")
        axes.plot(samples, [row] * len(samples), look.marker, color=look.colour, markersize=3.5, fillstyle="none")
        margin_note(axes, row, f"n = {stop['n']}: too few", color="#666666")
        return
    if stop["p95"] is not None:
        axes.plot([stop["p50"], stop["p95"]], [row, row], color=look.colour, linewidth=1.1)
        axes.plot(stop["p95"], row, "|", color=look.colour, markersize=10, markeredgewidth=1.4)
    axes.plot(stop["ci95"]["p50"], [row, row], color=look.colour, linewidth=4.5, alpha=0.45, solid_capstyle="butt")
    axes.plot(stop["p50"], row, look.marker, color=look.colour, markersize=6)
    margin_note(axes, row, note)
