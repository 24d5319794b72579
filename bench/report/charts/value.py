"""Charts that weigh: what wasted tokens cost in money, and cost per token against stop latency."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.captions_cost import PRICE_USD_PER_M_TOKENS, money_reading, trade_reading
from bench.report.charts.canvas import (
    Case,
    Chart,
    Panel,
    figure,
    height,
    left_out,
    margin_head,
    margin_note,
    plain_ticks,
    strategy_rows,
)
from bench.report.charts.cost import wasted_by
from bench.report.charts.labels import Named, name_curves
from bench.report.formatting import number
from bench.report.styles import style_of
from bench.stats.paired import MIN_BLOCKS
from bench.stats.spread import BlockValues, block_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MONEY, MONEY_TITLE = "waste-price", "What the wasted tokens cost"
TRADE, TRADE_TITLE = "cost-against-stop", "What a fast stop costs"
COSTS = (
    ("server_cpu_us_per_token", "service CPU  [µs per token]", False),
    ("store_ops_per_token", "store operations  [per token, log beyond 0.01]", True),
)


def draw_money(folder: Path, panel: Panel | None) -> Chart:
    """Dollars per million stopped chats, at the assumed price, with the interval of the mean."""
    if panel is None:
        return left_out(MONEY, MONEY_TITLE, "no abort was counted")
    # tokens per chat x million chats x dollars per million tokens: the millions cancel out
    found = {
        name: (*(each * PRICE_USD_PER_M_TOKENS for each in mean), len(panel.samples(name, "wasted_tokens")))
        for name, mean in wasted_by(panel).items()
    }
    if not found:
        return left_out(MONEY, MONEY_TITLE, "no abort was counted")
    with figure(folder, MONEY, height(1, len(found)) + 0.2) as (_drawing, (axes, *_rest)):
        row_of = strategy_rows(axes, list(found))
        margin_head(axes, "\\$ (n)")
        for strategy, (mean, low, high, n) in found.items():
            look, row = style_of(strategy), row_of[strategy]
            axes.plot([low, high], [row, row], color=look.colour, linewidth=4, alpha=0.45, solid_capstyle="butt")
            axes.plot(mean, row, look.marker, color=look.colour, markersize=6)
            margin_note(axes, row, f"{number(mean)}  ({n})")
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.set_xlim(-0.15, max(high for _mean, _low, high, _n in found.values()) * 1.6 + 1)
        plain_ticks(axes, log=False)
        axes.set_title(panel.title)
        axes.set_xlabel(
            f"\\$ per million stopped chats, at \\${PRICE_USD_PER_M_TOKENS:g} per million tokens\n"
            "[log beyond 1]; marker: mean, missed aborts included\nbar: its 95 % interval"
        )
    return Chart(MONEY, MONEY_TITLE, money_reading({name: each[:3] for name, each in found.items()}, panel.scenario))


def draw_trade(folder: Path, stops: Panel | None, costs: BlockValues) -> Chart:
    """CPU per token and store operations per token over the median stop: left and low is better."""
    usable = [case for case in stops.cases if _median_stop(case)] if stops else []
    columns = [
        (metric, label, log, rows)
        for metric, label, log in COSTS
        if (rows := [case for case in usable if costs.get(case["strategy"], {}).get(metric)])
    ]
    if not columns or stops is None:
        return left_out(TRADE, TRADE_TITLE, "it needs a scenario with aborts and the scenario steady")
    with figure(folder, TRADE, 3.9 * len(columns) + 0.2, nrows=len(columns)) as (_drawing, axes):
        named = []
        for (metric, label, log, rows), column_axes in zip(columns, axes, strict=True):
            named.append(_draw_plane(column_axes, rows, costs, metric, log=log))
            column_axes.set_ylabel(label)
            base = costs.get("none", {}).get(metric)
            if base and not log:
                middle = statistics.fmean(base.values())
                column_axes.axhline(middle, color="#555555", linewidth=1)
                column_axes.text(
                    0.995, middle, "none", transform=column_axes.get_yaxis_transform(),
                    color="#555555", ha="right", va="bottom",
                )  # fmt: skip
        blocks = max(len(each) for by_metric in costs.values() for each in by_metric.values())
        n = max(case["metrics"]["upstream_stop_ms"]["n"] for case in usable)
        cost_bars = "the same" if blocks >= MIN_BLOCKS else "its range"
        axes[0].set_title(
            f"stops: {stops.title}, n up to {n:,}\ncosts: steady, {blocks} block{'s' if blocks > 1 else ''}"
        )
        axes[-1].set_xlabel(
            f"median stop  [ms, log]\nbars: 95 % interval of the stop, of the cost: {cost_bars}\n"
            "hollow: misses aborts; grey: the best trades of the others"
        )
        name_curves(list(zip(axes, named, strict=True)))
    return Chart(TRADE, TRADE_TITLE, trade_reading(usable, costs))


def _draw_plane(axes: Axes, cases: Sequence[Case], costs: BlockValues, metric: str, *, log: bool) -> list[Named]:
    named, whole = [], []
    for case in cases:
        stop, values, look = (
            case["metrics"]["upstream_stop_ms"],
            list(costs[case["strategy"]][metric].values()),
            style_of(case["strategy"]),
        )
        middle = statistics.fmean(values)
        bars: dict[str, Any] = {"color": look.colour, "linewidth": 1.2, "alpha": 0.6}
        axes.plot(stop["ci95"]["p50"], [middle, middle], **bars)
        axes.plot([stop["p50"]] * 2, block_ends(values) or [min(values), max(values)], **bars)
        face = "white" if case["missed"] else look.colour
        axes.plot(stop["p50"], middle, look.marker, color=look.colour, markerfacecolor=face, markersize=7)
        named.append(
            Named(case["strategy"], look.colour, np.asarray([[stop["p50"], middle]]), line="", marker=look.marker)
        )
        if not case["missed"] and case["delivery"]:  # hanging up is no strategy of the service
            whole.append((stop["p50"], middle))
    front = pareto(whole)
    axes.step([x for x, _y in front], [y for _x, y in front], where="post", color="#999999", linewidth=1, zorder=1)
    plain_ticks(axes)
    axes.margins(x=0.25, y=0.2)
    if log:
        axes.set_yscale("symlog", linthresh=0.01, linscale=0.4)
        axes.set_ylim(bottom=0)
        plain_ticks(axes, "y", log=False)
    else:
        axes.set_ylim(bottom=0)
    return named


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those points (less is better in both) that no other one beats, from left to right."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _median_stop(case: Case) -> float | None:
    value: float | None = case["metrics"].get("upstream_stop_ms", {}).get("p50")
    return value
