"""Chart of the parts of the stop latency, from the abort to the upstream, per strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.analysis.waterfall import LETTERS, WORDS, Parts
from bench.record.schema import CaseKey
from bench.report.captions import where_reading
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart
from bench.report.charts.data import Panel
from bench.report.formatting import interval, number
from bench.stats.spread import Mean

NAME = "stop-where"
# No strategy's colours: light to dark along the way, with letters on them for readers who see no colour.
COLOURS = ("#f3e3f1", "#dcb0d6", "#bd7ab5", "#93458c", "#5d1b59")
WIDE_ENOUGH, FOR_A_FIGURE = 0.07, 0.2  # of the axis, for a part's letter, and for its milliseconds, too
CLIENT_MOST = 1.4  # mean stops: a later end of the client is written as text, else the parts would be too narrow
BELOW = 0.36  # of a row: where the whiskers are, below the figures


def draw_where(folder: Path, panels: Sequence[Panel], parts: Mapping[CaseKey, Parts]) -> Chart:
    """Each part's mean as a share of the strategy's own mean stop, with the interval of the way up to its end."""
    known = [(p.title, {case.strategy: parts[case.key] for case in p.cases if case.key in parts}) for p in panels]
    shown = [(title, own) for title, own in known if own]
    if not shown:
        return canvas.left_out(NAME, "the record has no stamps of the service on the way of an abort")
    tall = canvas.height(len(shown), max(len(own) for _title, own in shown), canvas.TWO_LINES_IN) + 1.7
    with canvas.figure(folder, NAME, tall, nrows=len(shown)) as (drawing, axes):
        for (title, own), panel_axes in zip(shown, axes, strict=True):
            row_of = canvas.strategy_rows(panel_axes, own, "mean, ms (n)\n[95 %]")
            right = _right(list(own.values()))
            for strategy, each in own.items():
                _draw_row(panel_axes, each, row_of[strategy], right)
            panel_axes.set(xlim=(0, right), title=title)
            panel_axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
            panel_axes.grid(visible=False)
        axes[-1].set_xlabel(
            "share of the strategy's own mean stop; in the bars: ms\n(all figures: in the table of the same name)"
        )
        drawing.legend(handles=_legend(), loc="outside lower left", handlelength=1.4)
    return Chart(NAME, where_reading(next(p.scenario for p in panels if p.title == shown[0][0]), shown[0][1]))


def _legend() -> list[Line2D | Patch]:
    words = zip(LETTERS, WORDS.values(), COLOURS, strict=False)
    return [
        *(Patch(facecolor=tint, edgecolor="#555555", linewidth=0.5, label=f"{at}  {text}") for at, text, tint in words),
        Line2D([], [], linestyle="", marker="d", color=canvas.DARK, markerfacecolor="white",
               label=f"{LETTERS[-1]}  the client sees the end (→: when, ms)"),
        Line2D([], [], marker="|", color=canvas.DARK, markersize=6, linewidth=1.1,
               label="95 % interval of the mean time up to there"),
    ]  # fmt: skip


def _draw_row(axes: Axes, parts: Parts, row: int, right: float) -> None:
    total, left = parts.whole.mean, 0.0
    shares = [part.mean / total for part in parts.each]
    for place, (letter, colour, part) in enumerate(zip(LETTERS, COLOURS, parts.each, strict=False)):
        share = shares[place]
        axes.barh(row, share, left=left, height=0.76, color=colour, edgecolor="white", linewidth=0.8)
        if share >= WIDE_ENOUGH * right:
            text = f"{letter} {number(part.mean)}" if share >= FOR_A_FIGURE * right else letter
            ink = "white" if letter in "de" else "black"
            axes.text(left + share / 2, row, text, ha="center", va="center", color=ink)
        if place == len(shares) - 1 or shares[place + 1] >= WIDE_ENOUGH * right:  # else two would overlap
            _whisker(axes, parts.upto[place], total, row + BELOW)
        left += share
    if parts.client_end:
        after = parts.client_end.mean / total
        if after > CLIENT_MOST:
            late = f"{LETTERS[-1]} {number(parts.client_end.mean)} →"
            axes.text(right - 0.01, row, late, ha="right", va="center", color=canvas.DARK)
        else:
            axes.plot(after, row, "d", color=canvas.DARK, markerfacecolor="white", markersize=6, zorder=4)
            if abs(after - 1) >= WIDE_ENOUGH * right:
                _whisker(axes, parts.client_end, total, row + BELOW - 0.16)
    canvas.note(axes, row, f"{number(total)}  ({parts.n})\n{interval(parts.whole[1:]).strip()}")


def _whisker(axes: Axes, mean: Mean, total: float, y: float) -> None:
    ends = [mean.low / total, mean.high / total]
    axes.plot(ends, [y, y], "|-", color=canvas.DARK, markersize=4, linewidth=1.1, zorder=3)


def _right(parts: Sequence[Parts]) -> float:
    """The end of the axis: beyond the last interval, of the stops and of the clients' ends, up to a limit."""
    ends = [own.whole.high / own.whole.mean for own in parts]
    ends += [min(CLIENT_MOST, own.client_end.high / own.whole.mean) for own in parts if own.client_end]
    return max(1.0, *ends) + 0.04
