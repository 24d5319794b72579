"""Charts of how long a stop takes: the ECDF per strategy, and median and tail by scenario."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from bench.report.captions import scenario_reading, stop_reading
from bench.report.charts.canvas import (
    TWO_LINES_IN,
    Case,
    Chart,
    Floor,
    Panel,
    figure,
    floor_line,
    height,
    left_out,
    margin_head,
    margin_note,
    plain_ticks,
    strategy_rows,
)
from bench.report.charts.labels import Named, Points, corners_of_steps, name_curves, thin
from bench.report.formatting import number, span
from bench.report.styles import style_of
from bench.stats.ecdf import ecdf_band

STOP_LABEL = "abort sent → upstream connection lost  [ms, log]"
NO_ABORTS = "no scenario with aborts was run"
ECDF, ECDF_TITLE = "stop-ecdf", "How many aborts had stopped the upstream by when"
ROWS, ROWS_TITLE = "stop-by-scenario", "Median and tail of the stop, by scenario"
MOST_POINTS = 240
PANELS_PER_PICTURE = 2


def draw_ecdf(folder: Path, panels: Sequence[Panel], floor: Floor, limits: tuple[float, float]) -> Chart:
    """Share of the counted aborts that had stopped the upstream by a time, with its 95 % band; missed ones never do."""
    if not panels:
        return left_out(ECDF, ECDF_TITLE, NO_ABORTS)
    with figure(folder, ECDF, 3.6 * len(panels), nrows=len(panels)) as (_drawing, axes):
        curves = []
        for panel, panel_axes in zip(panels, axes, strict=True):
            plain_ticks(panel_axes)
            panel_axes.set(xlim=limits, ylim=(-0.03, 1.05), xlabel=STOP_LABEL, ylabel="share of aborts")
            panel_axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            n = span([case["aborts"] for case in panel.cases])
            panel_axes.set_title(f"{panel.title}; n = {n} aborts; band: 95 %")
            curves.append([_draw_curve(panel_axes, panel, case, limits) for case in panel.cases])
            floor_line(panel_axes, floor)
        line = [np.asarray([[floor["p50"], 0], [floor["p50"], 1]])] if floor and floor.get("p50") else []
        name_curves(list(zip(axes, curves, strict=True)), line)
    return Chart(ECDF, ECDF_TITLE, stop_reading(panels[0].cases))


def _draw_curve(axes: Axes, panel: Panel, case: Case, limits: tuple[float, float]) -> Named:
    """One strategy's curve: it ends at the share that was stopped, since missed aborts are censored, not left out."""
    look, stops_ms = style_of(case["strategy"]), panel.samples(case["strategy"], "upstream_stop_ms")
    x, share, low, high = (thin(each, MOST_POINTS) for each in curve_of(stops_ms, case["aborts"], limits))
    label = f"{case['strategy']} ({case['missed']} missed)" if case["missed"] else str(case["strategy"])
    axes.plot(x, share, drawstyle="steps-post", color=look.colour, linestyle=look.line, linewidth=1.6)
    axes.fill_between(x, low, high, step="post", color=look.colour, alpha=0.13, linewidth=0, rasterized=True)
    whole = corners_of_steps(x, share)
    # At the top and at the bottom all curves lie on one another; only where one ends below the top is it alone there.
    alone = (whole[:, 1] > 0.02) & (whole[:, 1] < 0.98)
    return Named(label, look.colour, whole, whole[alone] if alone.sum() > 1 else None, look.line)


def curve_of(
    stops_ms: Sequence[float] | pd.Series[float], aborts: int, limits: tuple[float, float]
) -> tuple[Points, Points, Points, Points]:
    """`(x, share, low, high)` of F(t) = stops within t / all counted aborts, drawn from limit to limit.

    A missed abort (and one that was obeyed before the upstream was asked) has no stop: it stays in the denominator
    and never arrives, so with misses F ends below 1.
    """
    x, share, low, high = ecdf_band([*stops_ms], aborts - len(stops_ms))
    ends = (share[-1], low[-1], high[-1]) if len(x) else (0.0, 0.0, 0.0)
    return (
        np.concatenate([[limits[0]], x, [limits[1]]]),
        np.concatenate([[0.0], share, [ends[0]]]),
        np.concatenate([[0.0], low, [ends[1]]]),
        np.concatenate([[0.0], high, [ends[2]]]),
    )


def draw_by_scenario(folder: Path, panels: Sequence[Panel], floor: Floor, limits: tuple[float, float]) -> list[Chart]:
    """Median with its interval and the 95th percentile, a row per strategy; a picture for each two scenarios."""
    if not panels:
        return [left_out(ROWS, ROWS_TITLE, NO_ABORTS)]
    charts = []
    for number_, start in enumerate(range(0, len(panels), PANELS_PER_PICTURE), 1):
        some = panels[start : start + PANELS_PER_PICTURE]
        name, title = (ROWS, ROWS_TITLE) if number_ == 1 else (f"{ROWS}-{number_}", f"{ROWS_TITLE} ({number_})")
        _draw_rows(folder, name, some, floor, limits)
        charts.append(Chart(name, title, scenario_reading([case for panel in some for case in panel.cases])))
    return charts


def _draw_rows(folder: Path, name: str, panels: Sequence[Panel], floor: Floor, limits: tuple[float, float]) -> None:
    strategies = [case["strategy"] for panel in panels for case in panel.cases]
    rows = len(set(strategies))
    tall = height(len(panels), rows, TWO_LINES_IN)
    with figure(folder, name, tall, nrows=len(panels), sharex=True) as (_drawing, axes):
        for panel, panel_axes in zip(panels, axes, strict=True):
            row_of = strategy_rows(panel_axes, strategies)
            margin_head(panel_axes, "p50 / p95 (n)")
            for case in panel.cases:
                _draw_row(panel_axes, panel, case, row_of[case["strategy"]])
            plain_ticks(panel_axes)
            panel_axes.set(xlim=limits)
            floor_line(panel_axes, floor)
            panel_axes.set_title(panel.title)
            panel_axes.tick_params(labelbottom=True)
        axes[-1].set_xlabel(f"{STOP_LABEL}\nmarker p50, thick bar its 95 % interval, thin line up to p95")


def _draw_row(axes: Axes, panel: Panel, case: Case, row: int) -> None:
    stop, look = case["metrics"].get("upstream_stop_ms"), style_of(case["strategy"])
    if stop is None or not stop["n"]:
        margin_note(axes, row, f"all {case['aborts']} missed" if case["aborts"] else "no aborts", color="#666666")
        return
    note = f"{number(stop['p50'])} / {number(stop['p95'])}  ({stop['n']})"
    note += f"\n{case['missed']} missed" if case["missed"] else ""
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
    margin_note(axes, row, note, linespacing=0.95)
