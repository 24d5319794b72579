"""Charts of what a strategy costs: wasted tokens and their price, CPU and store operations, cost against the stop."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from bench.record.summary import SummaryCase
from bench.report.captions import PRICE_USD_PER_M_TOKENS, cost_reading, money_reading, trade_reading, waste_reading
from bench.report.cases import CPU, WASTE, interval_of, median, value_of
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart
from bench.report.charts.data import Panel
from bench.report.formatting import block_legend, interval, number, plural
from bench.report.styles import style_of
from bench.stats.paired import MIN_BLOCKS
from bench.stats.spread import BlockValues, Mean, against, block_ends

MOST_AREA_PT2 = 150.0  # all aborts of a row in one dot
BIN_RATIO = 1.25
OPS = "store_ops_per_token"
COLUMNS = (
    ("tokens_per_s", "throughput", "tokens/s"),
    (CPU, "CPU per token", "µs/token"),
    (OPS, "store ops", "per token"),
)
TRADES = ((CPU, "service CPU  [µs per token]"), (OPS, "store operations  [per token, log beyond 0.01]"))


def draw_waste(folder: Path, panels: Sequence[Panel]) -> Chart:
    """The distribution of tokens that the upstream wrote after the abort was sent: dots whose area is the share."""
    if not panels:
        return canvas.left_out("wasted-tokens", "no scenario with aborts was run")
    strategies = {name for panel in panels for name in panel.strategies}
    samples = [panel.samples(name, WASTE) for panel in panels for name in panel.strategies]
    most = max([1.0, *(value for each in samples for value in each)])
    tall = canvas.height(len(panels), len(strategies), canvas.TWO_LINES_IN)
    with canvas.figure(folder, "wasted-tokens", tall, nrows=len(panels), sharex=True) as (_drawing, axes):
        for panel, panel_axes in zip(panels, axes, strict=True):
            means, row_of = panel.wasted(), canvas.strategy_rows(panel_axes, strategies, "mean (n)\n[95 %]")
            for name in panel.strategies:
                _draw_waste_row(panel_axes, name, panel.samples(name, WASTE), row_of[name], means.get(name))
            panel_axes.set_xscale("symlog", linthresh=1, linscale=0.5)
            panel_axes.set(xlim=(-0.25, most * 1.3), title=panel.title)
            panel_axes.xaxis.set_major_locator(FixedLocator([0, *(10.0**power for power in range(7))]))
            panel_axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
            panel_axes.tick_params(labelbottom=True)
        axes[-1].set_xlabel(
            "tokens written after the abort was sent  [log beyond 1]\n"
            "dot area: share of the aborts, missed included\n(binned above 10 tokens); black bar: median"
        )
    return Chart("wasted-tokens", waste_reading(panels[0].scenario, panels[0].wasted()))


def _draw_waste_row(axes: Axes, name: str, wasted: Sequence[float], row: int, mean: Mean | None) -> None:
    if mean is None:
        canvas.note(axes, row, "no aborts", canvas.GREY)
        return
    # Dots of many aborts would lie on one spot: the area shows their number.
    tokens, counts = np.unique(binned(wasted), return_counts=True)
    areas = np.maximum(counts / len(wasted) * MOST_AREA_PT2, 4.0)
    axes.scatter(tokens, [row] * len(counts), s=areas, color=style_of(name).colour, alpha=0.8, linewidths=0)
    for colour, width in (("white", 3.0), ("black", 1.5)):
        axes.plot(statistics.median(wasted), row, "|", color=colour, markersize=15, markeredgewidth=width)
    canvas.note(axes, row, f"{number(mean.mean)}  ({len(wasted)})\n{interval((mean.low, mean.high)).strip()}")


def binned(tokens: Sequence[float]) -> list[float]:
    """Counts up to 10 as they are; larger ones become the mean of their bin, so that dots do not overlap."""
    bins: dict[int, list[float]] = {}
    keys = [-1 if value <= 10 else int(np.log(value / 10) / np.log(BIN_RATIO)) for value in tokens]
    for key, value in zip(keys, tokens, strict=True):
        bins.setdefault(key, []).append(value)
    means = {key: statistics.fmean(each) for key, each in bins.items()}
    return [value if key < 0 else means[key] for key, value in zip(keys, tokens, strict=True)]


def draw_money(folder: Path, panel: Panel | None) -> Chart:
    """Dollars per million aborted chats, at the assumed price, with the interval of the mean."""
    # tokens per chat x million chats x dollars per million tokens: the millions cancel out
    wasted = panel.wasted() if panel else {}
    usd = {name: Mean(*(each * PRICE_USD_PER_M_TOKENS for each in mean)) for name, mean in wasted.items()}
    if panel is None or not usd:
        return canvas.left_out("waste-price", "no abort was counted")
    with canvas.figure(folder, "waste-price", canvas.height(1, len(usd)) + 0.2) as (_drawing, (axes, *_rest)):
        row_of = canvas.strategy_rows(axes, usd, "\\$ (n)")
        for name, mean in usd.items():
            canvas.mark(axes, mean.mean, row_of[name], name, (mean.low, mean.high))
            canvas.note(axes, row_of[name], f"{number(mean.mean)}  ({len(panel.samples(name, WASTE))})")
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.set(xlim=(-0.15, max(mean.high for mean in usd.values()) * 1.6 + 1), title=panel.title)
        canvas.plain_ticks(axes, log=False)
        axes.set_xlabel(
            f"\\$ per million aborted chats, at \\${PRICE_USD_PER_M_TOKENS:g} per million tokens\n"
            "[log beyond 1]; marker: mean, missed aborts included\nbar: its 95 % interval"
        )
    return Chart("waste-price", money_reading(usd, panel.scenario))


def draw_cost(folder: Path, panel: Panel | None, values: BlockValues) -> Chart:
    """Throughput and CPU per token as ratios to `none` (or as they are when it is absent), and store operations."""
    if panel is None:
        return canvas.left_out("cost", "the scenario steady was not run")
    with canvas.figure(folder, "cost", canvas.height(1, len(panel.cases)), ncols=3, sharey=True) as (drawing, axes):
        for column_axes, (metric, what, unit) in zip(axes, COLUMNS, strict=True):
            row_of = canvas.strategy_rows(column_axes, panel.strategies)
            base = values.get("none", {}).get(metric, {}) if metric != OPS else {}
            column_axes.set(title=what, xlabel="ratio to none" if base else f"[{unit}]")
            if base:
                column_axes.axvline(1.0, color="#555555", linewidth=1.0)
            for case in panel.cases:
                absent = "no store" if case.store in (None, "memory") and metric == OPS else "no data"
                measured = against(values[case.strategy].get(metric, {}), base)
                _draw_cost_row(column_axes, measured, case.strategy, row_of[case.strategy], absent)
            _make_room(column_axes, at_least=(0.9, 1.1) if base else (0.0, 1.0))
        blocks = max((len(each) for by_metric in values.values() for each in by_metric.values()), default=1)
        drawing.suptitle(f"{panel.title}\n{block_legend(blocks)}", x=0.01, ha="left")
    return Chart("cost", cost_reading(values))


def _draw_cost_row(axes: Axes, measured: Sequence[float], name: str, row: int, absent: str) -> None:
    if not measured:
        axes.text(0.03, row, absent, transform=axes.get_yaxis_transform(), color=canvas.GREY, va="center")
        return
    middle = statistics.fmean(measured)
    axes.plot([min(measured), max(measured)], [row, row], color=style_of(name).colour, linewidth=1.3)
    canvas.mark(axes, middle, row, name, block_ends(measured))
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    place: dict[str, Any] = {"textcoords": "offset points", "va": "center", "bbox": ground}
    axes.annotate(number(middle), (max(measured), row), (7, 0), **place)


def _make_room(axes: Axes, at_least: tuple[float, float]) -> None:
    """Keep a minimum span, so that a difference of a thousandth does not fill the panel, and room for the labels."""
    low, high = axes.dataLim.intervalx
    low, high = (min(low, at_least[0]), max(high, at_least[1])) if np.isfinite([low, high]).all() else at_least
    span = high - low
    axes.set_xlim(low - 0.06 * span, high + 0.4 * span)


def draw_trade(folder: Path, stops: Panel | None, costs: BlockValues) -> Chart:
    """CPU per token and store operations per token over the median stop: left and low is better."""
    usable = [case for case in stops.cases if median(case)] if stops else []
    columns = {
        metric: [case for case in usable if costs.get(case.strategy, {}).get(metric)] for metric, _label in TRADES
    }
    shown = [(metric, label) for metric, label in TRADES if columns[metric]]
    if not shown or stops is None:
        return canvas.left_out("cost-against-stop", "it needs a scenario with aborts and the scenario steady")
    tall = 3.6 * len(shown) + 0.4 + canvas.legend_height(len(usable))
    with canvas.figure(folder, "cost-against-stop", tall, nrows=len(shown)) as (drawing, axes):
        for (metric, label), plane in zip(shown, axes, strict=True):
            _draw_plane(plane, columns[metric], costs, metric)
            plane.set_ylabel(label)
        blocks = max(len(each) for by_metric in costs.values() for each in by_metric.values())
        n = max(value_of(case, key="n") or 0 for case in usable)
        axes[0].set_title(f"stops: {stops.title}, n up to {n:,}\ncosts: steady, {plural(blocks, 'block')}")
        axes[-1].set_xlabel(
            "median stop  [ms, log]; bars: 95 % interval of the stop,\n"
            f"of the cost: {'95 % interval' if blocks >= MIN_BLOCKS else 'lowest to highest'}; hollow: misses aborts\n"
            "grey: no other strategy is better in both"
        )
        canvas.legend_of(drawing, [case.strategy for case in usable], line=False)
    return Chart("cost-against-stop", trade_reading(usable, costs))


def _draw_plane(axes: Axes, cases: Sequence[SummaryCase], costs: BlockValues, metric: str) -> None:
    middles: Mapping[str, float] = {name: statistics.fmean(each[metric].values()) for name, each in costs.items()
                                    if each.get(metric)}  # fmt: skip
    for case in cases:
        look, x, y = style_of(case.strategy), median(case), middles[case.strategy]
        values = list(costs[case.strategy][metric].values())
        bars: dict[str, Any] = {"color": look.colour, "linewidth": 1.2, "alpha": 0.6}
        axes.plot(interval_of(case) or (x, x), [y, y], **bars)
        axes.plot([x, x], block_ends(values) or [min(values), max(values)], **bars)
        canvas.mark(axes, x, y, case.strategy, markerfacecolor="white" if case.missed else look.colour, markersize=7)
    # A client that disconnects is no strategy of the service.
    front = pareto([(median(case), middles[case.strategy]) for case in cases if case.delivery and not case.missed])
    axes.step([x for x, _y in front], [y for _x, y in front], where="post", color="#999999", linewidth=1, zorder=1)
    canvas.plain_ticks(axes)
    axes.margins(x=0.25, y=0.2)
    if metric == OPS:
        axes.set_yscale("symlog", linthresh=0.01, linscale=0.4)
        canvas.plain_ticks(axes, "y", log=False)
    elif "none" in middles:
        axes.axhline(middles["none"], color="#555555", linewidth=1)
        label: dict[str, Any] = {"color": "#555555", "ha": "right", "va": "bottom"}
        axes.text(0.995, middles["none"], "none", transform=axes.get_yaxis_transform(), **label)
    axes.set_ylim(bottom=0)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those points (less is better in both) that no other one beats, from left to right."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front
