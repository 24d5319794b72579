"""Charts of what a strategy costs: tokens wasted per abort, and throughput, CPU and store operations without aborts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from bench.report.captions import cost_reading, waste_reading
from bench.report.charts.canvas import (
    TWO_LINES_IN,
    Case,
    Chart,
    Panel,
    figure,
    height,
    left_out,
    margin_head,
    margin_note,
    strategy_rows,
)
from bench.report.formatting import number, spread_words
from bench.report.styles import style_of
from bench.stats.spread import BlockValues, Mean, against, block_ends, mean_interval

MOST_AREA_PT2 = 150.0  # all aborts of a row in one dot
BIN_RATIO = 1.25


def draw_waste(folder: Path, panels: Sequence[Panel]) -> Chart:
    """The distribution of tokens the upstream wrote after the abort was sent: dots whose area is the share."""
    name, title = "wasted-tokens", "Tokens paid for after the abort was sent"
    if not panels:
        return left_out(name, title, "no scenario with aborts was run")
    strategies = [case["strategy"] for panel in panels for case in panel.cases]
    rows = len(set(strategies))
    most = max(1.0, *(float(panel.chats["wasted_tokens"].max()) for panel in panels if panel.chats.size))
    means = [wasted_by(panel) for panel in panels]
    tall = height(len(panels), rows, TWO_LINES_IN)
    with figure(folder, name, tall, nrows=len(panels), sharex=True) as (_drawing, axes):
        for panel, panel_means, panel_axes in zip(panels, means, axes, strict=True):
            row_of = strategy_rows(panel_axes, strategies)
            margin_head(panel_axes, "mean (n)\n[95 %]")
            for case in panel.cases:
                mean = panel_means.get(case["strategy"])
                _draw_waste_row(panel_axes, panel, case, row_of[case["strategy"]], mean)
            panel_axes.set_xscale("symlog", linthresh=1, linscale=0.5)
            panel_axes.set(xlim=(-0.25, most * 1.3))
            panel_axes.xaxis.set_major_locator(FixedLocator([0, *(10.0**power for power in range(7))]))
            panel_axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
            panel_axes.set_title(panel.title)
            panel_axes.tick_params(labelbottom=True)
        axes[-1].set_xlabel(
            "tokens written after the abort was sent  [log beyond 1]\n"
            "dot area: share of the aborts, missed included\n(binned above 10 tokens); black bar: median"
        )
    return Chart(name, title, waste_reading(panels[0].scenario, means[0]))


def wasted_by(panel: Panel) -> dict[str, Mean]:
    """Strategy -> the mean of tokens wasted per abort, with its interval; those without an abort are left out."""
    found = {}
    for case in panel.cases:
        chats = panel.chats.loc[panel.chats["strategy"] == case["strategy"], ["block", "wasted_tokens"]].dropna()
        if len(chats):
            found[case["strategy"]] = mean_interval(
                {int(str(block)): list(values) for block, values in chats.groupby("block")["wasted_tokens"]}
            )
    return found


def _draw_waste_row(axes: Axes, panel: Panel, case: Case, row: int, mean: Mean | None) -> None:
    wasted = panel.samples(case["strategy"], "wasted_tokens")
    if mean is None:
        margin_note(axes, row, "no aborts", color="#666666")
        return
    look, counts = style_of(case["strategy"]), binned(wasted).value_counts().sort_index()
    # Dots of many aborts lie on one spot: their number would be hidden, their area shows it.
    areas = np.maximum(counts.to_numpy(dtype=float) / len(wasted) * MOST_AREA_PT2, 4.0)
    axes.scatter(counts.index, [row] * len(counts), s=areas, color=look.colour, alpha=0.8, linewidths=0)
    for colour, width in (("white", 3.0), ("black", 1.5)):
        axes.plot(wasted.median(), row, "|", color=colour, markersize=15, markeredgewidth=width)
    margin_note(
        axes,
        row,
        f"{number(mean.mean)}  ({len(wasted)})\n[{number(mean.low)} to {number(mean.high)}]",
        linespacing=0.95,
    )


def binned(tokens: pd.Series[float]) -> pd.Series[float]:
    """Counts up to 10 as they are; larger ones become the mean of their bin, so that dots do not run together."""
    bins = np.floor(np.log(tokens.clip(lower=10) / 10) / np.log(BIN_RATIO))
    return tokens.where(tokens <= 10, tokens.groupby(bins.where(tokens > 10, -1)).transform("mean"))


def draw_cost(folder: Path, panel: Panel | None, values: BlockValues) -> Chart:
    """Throughput and CPU per token as ratios to `none` (or as they are when it is absent), and store operations."""
    name, title = "cost", "What a strategy costs while nobody stops anything"
    if panel is None:
        return left_out(name, title, "the scenario steady was not run")
    strategies = [case["strategy"] for case in panel.cases]
    columns = (
        ("tokens_per_s", "throughput", "tokens/s"),
        ("server_cpu_us_per_token", "CPU per token", "µs/token"),
        ("store_ops_per_token", "store ops", "per token"),
    )
    with figure(folder, name, height(1, len(set(strategies))), ncols=3, sharey=True) as (drawing, axes):
        for column_axes, (metric, what, unit) in zip(axes, columns, strict=True):
            row_of = strategy_rows(column_axes, strategies)
            base = values.get("none", {}).get(metric, {}) if metric != "store_ops_per_token" else {}
            column_axes.set_title(what)
            column_axes.set_xlabel("ratio to none" if base else f"[{unit}]")
            if base:
                column_axes.axvline(1.0, color="#555555", linewidth=1.0)
            for case in panel.cases:
                measured = against(values[case["strategy"]].get(metric, {}), base)
                absent = "no store" if case["store"] in (None, "memory") and metric.startswith("store") else "no data"
                _draw_cost_row(column_axes, measured, case, row_of[case["strategy"]], absent)
            _room(column_axes, at_least=(0.9, 1.1) if base else (0.0, 1.0))
        blocks = max((len(each) for by_metric in values.values() for each in by_metric.values()), default=1)
        drawing.suptitle(f"{panel.title}\n{spread_words(blocks)}", x=0.01, ha="left")
    return Chart(name, title, cost_reading(values))


def _draw_cost_row(axes: Axes, measured: Sequence[float], case: Case, row: int, absent: str) -> None:
    look = style_of(case["strategy"])
    if not measured:
        axes.text(0.03, row, absent, transform=axes.get_yaxis_transform(), color="#666666", va="center")
        return
    middle = statistics.fmean(measured)
    axes.plot([min(measured), max(measured)], [row, row], color=look.colour, linewidth=1.3)
    if ends := block_ends(measured):
        axes.plot(ends, [row, row], color=look.colour, linewidth=4.5, alpha=0.45, solid_capstyle="butt")
    axes.plot(middle, row, look.marker, color=look.colour, markersize=6)
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    place: dict[str, Any] = {"textcoords": "offset points", "va": "center", "bbox": ground}
    axes.annotate(number(middle), (max(measured), row), (7, 0), **place)


def _room(axes: Axes, at_least: tuple[float, float]) -> None:
    """Keep a minimum span, so that a difference of a thousandth does not fill the panel, and room for the labels."""
    low, high = axes.dataLim.intervalx
    low, high = (min(low, at_least[0]), max(high, at_least[1])) if np.isfinite([low, high]).all() else at_least
    span = high - low
    axes.set_xlim(low - 0.06 * span, high + 0.4 * span)
