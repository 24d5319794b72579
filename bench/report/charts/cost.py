"""Charts of what a strategy costs: wasted tokens and their price, CPU and store operations, cost against the stop."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from bench.analysis.ranking import interval_of, median, value_of
from bench.record.summary import SummaryCase
from bench.report.cases import CPU, OPS, PRICE_USD_PER_M_TOKENS, WASTE
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, style_of
from bench.report.charts.data import Panel
from bench.report.formatting import block_legend, interval, number, plural
from bench.stats.paired import MIN_BLOCKS
from bench.stats.spread import Mean, block_ends

MOST_AREA_PT2 = 150.0  # all aborts of a row in one dot
BIN_RATIO = 1.25
PACE = "tokens_per_s"
COLUMNS = ((PACE, "throughput", "tokens/s"), (CPU, "CPU per token", "µs/token"), (OPS, "store ops", "per token"))
TRADES = {CPU: "service CPU  [µs per token]", OPS: "store operations  [per token, log beyond 0.01]"}
Costs = Mapping[str, pd.DataFrame]
"""Metric -> its values, a row per block and a column per strategy."""


def draw_waste(out: Path, panels: Sequence[Panel]) -> Chart:
    """The distribution of tokens that the upstream wrote after the abort was sent: dots whose area is the share."""
    if not panels:
        return canvas.left_out("wasted-tokens")
    strategies = {name for panel in panels for name in panel.strategies}
    most = np.nanmax([1.0, *(panel.chats[WASTE].max() for panel in panels)])
    tall = canvas.height(len(panels), len(strategies), canvas.TWO_LINES_IN)
    with canvas.figure(out, "wasted-tokens", tall, nrows=len(panels), sharex=True) as every:
        for panel, axes in zip(panels, every, strict=True):
            means, row_of = panel.wasted(), canvas.strategy_rows(axes, strategies, "mean (n)\n[95 %]")
            for name in panel.strategies:
                _draw_waste_row(axes, name, panel.samples(name, WASTE), row_of[name], means.get(name))
            axes.set_xscale("symlog", linthresh=1, linscale=0.5)
            axes.set(xlim=(-0.25, most * 1.3), title=panel.title)
            axes.xaxis.set_major_locator(FixedLocator([0, *(10.0**power for power in range(7))]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
            axes.tick_params(labelbottom=True)
    return canvas.chart("wasted-tokens", scenario=panels[0].scenario, means=panels[0].wasted())


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
    values = pd.Series(tokens, dtype=float)
    large = values[values > 10]
    bins = (np.log(large / 10) / np.log(BIN_RATIO)).astype(int)
    return values.mask(values > 10, large.groupby(bins).transform("mean")).tolist()


def draw_money(out: Path, panel: Panel | None) -> Chart:
    """Dollars per million aborted chats, at the assumed price, with the interval of the mean."""
    # tokens per chat x million chats x dollars per million tokens: the millions cancel out
    wasted, price = panel.wasted() if panel else {}, PRICE_USD_PER_M_TOKENS
    usd = {name: Mean(*(each * price for each in mean)) for name, mean in wasted.items()}
    if panel is None or not usd:
        return canvas.left_out("waste-price")
    with canvas.figure(out, "waste-price", canvas.height(1, len(usd)) + 0.2, x={"price": price}) as (axes,):
        row_of = canvas.strategy_rows(axes, usd, "\\$ (n)")
        for name, mean in usd.items():
            canvas.mark(axes, mean.mean, row_of[name], name, (mean.low, mean.high))
            canvas.note(axes, row_of[name], f"{number(mean.mean)}  ({len(panel.samples(name, WASTE))})")
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.set(xlim=(-0.15, max(mean.high for mean in usd.values()) * 1.6 + 1), title=panel.title)
        canvas.plain_ticks(axes, log=False)
    return canvas.chart("waste-price", scenario=panel.scenario, usd=usd, price=price)


def draw_cost(out: Path, panel: Panel | None, costs: Costs) -> Chart:
    """Throughput and CPU per token as ratios to `none` (or as they are when it is absent), and store operations."""
    if panel is None:
        return canvas.left_out("cost")
    title = f"{panel.title}\n{block_legend(max(map(len, costs.values()), default=1))}"
    tall = canvas.height(1, len(panel.cases))
    with canvas.figure(out, "cost", tall, title=title, ncols=3, sharey=True) as every:
        for axes, (metric, what, unit) in zip(every, COLUMNS, strict=True):
            row_of = canvas.strategy_rows(axes, panel.strategies)
            ratio, measured = relative(costs, metric)
            axes.set(title=what, xlabel="ratio to none" if ratio else f"[{unit}]")
            if ratio:
                axes.axvline(1.0, color="#555555", linewidth=1.0)
            for case in panel.cases:
                absent = "no store" if case.store in (None, "memory") and metric == OPS else "no data"
                _draw_cost_row(axes, measured.get(case.strategy, []), case.strategy, row_of[case.strategy], absent)
            _make_room(axes, at_least=(0.9, 1.1) if ratio else (0.0, 1.0))
    return canvas.chart("cost", **cost_facts(costs))


def relative(costs: Costs, metric: str) -> tuple[bool, dict[str, list[float]]]:
    """Strategy -> its values by block, over `none`'s in the same block: what slows a whole block down cancels out.

    They stay as they are (and the first result is False) without `none`, and for store operations.
    """
    values = costs.get(metric, pd.DataFrame())
    ratio = "none" in values and metric != OPS
    found = values.div(values["none"].where(values["none"] != 0), axis="index") if ratio else values
    return ratio, {str(name): each for name in found if (each := found[name].dropna().tolist())}


def cost_facts(costs: Costs) -> dict[str, Any]:
    """What the caption needs: the strategies beside `none`, and their values by block, ordered by their mean."""
    facts: dict[str, Any] = {"others": {name for each in costs.values() for name in each} - {"none"}}
    for key, metric in (("cpu", CPU), ("stores", OPS), ("pace", PACE)):
        ratio, values = relative(costs, metric)
        pairs = [(name, each) for name, each in values.items() if name != "none"]
        facts[key] = sorted(pairs, key=lambda pair: statistics.fmean(pair[1])) if ratio or metric != PACE else []
        facts |= {"ratio": ratio} if metric == CPU else {}
    return facts


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


def draw_trade(out: Path, stops: Panel | None, costs: Costs) -> Chart:
    """CPU per token and store operations per token over the median stop: left and low is better."""
    usable = [case for case in stops.cases if median(case)] if stops else []
    values = {metric: costs[metric] for metric in TRADES if metric in costs}
    columns = {metric: [case for case in usable if case.strategy in own] for metric, own in values.items()}
    shown = [metric for metric, cases in columns.items() if cases]
    if not shown or stops is None:
        return canvas.left_out("cost-against-stop")
    blocks, n = max(map(len, costs.values())), max(value_of(case, key="n") or 0 for case in usable)
    look: dict[str, Any] = {"legend": [case.strategy for case in usable], "line": False, "nrows": len(shown)}
    facts = {"cost_bars": "95 % interval" if blocks >= MIN_BLOCKS else "lowest to highest"}
    with canvas.figure(out, "cost-against-stop", 3.6 * len(shown) + 0.4, x=facts, **look) as every:
        for metric, axes in zip(shown, every, strict=True):
            _draw_plane(axes, columns[metric], values[metric], metric)
            axes.set_ylabel(TRADES[metric])
        every[0].set_title(f"stops: {stops.title}, n up to {n:,}\ncosts: steady, {plural(blocks, 'block')}")
    cpu = {name: each.dropna().tolist() for name, each in costs.get(CPU, pd.DataFrame()).items()}
    able = [case for case in usable if case.delivery and not case.missed and case.strategy in cpu]
    cheap = min(able, key=lambda case: statistics.fmean(cpu[case.strategy]), default=None)
    return canvas.chart("cost-against-stop", quick=min(able, key=median, default=None), cheap=cheap, cpu=cpu)


def _draw_plane(axes: Axes, cases: Sequence[SummaryCase], costs: pd.DataFrame, metric: str) -> None:
    middles = costs.mean()
    for case in cases:
        look, x, y = style_of(case.strategy), median(case), middles[case.strategy]
        values = costs[case.strategy].dropna().tolist()
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
    ordered = sorted(points)
    return [(x, y) for place, (x, y) in enumerate(ordered) if all(y < lower for _x, lower in ordered[:place])]
