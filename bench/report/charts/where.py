"""Chart of where a stop's time goes: the parts of the way from the abort to the upstream, per strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.parts import LETTERS, WORDS, Parts
from bench.analysis.reading import CaseKey, case_key
from bench.report.captions_stop import where_reading
from bench.report.charts.canvas import (
    TWO_LINES_IN,
    Chart,
    Panel,
    figure,
    height,
    left_out,
    margin_head,
    margin_note,
    strategy_rows,
)
from bench.report.formatting import number
from bench.stats.spread import Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME, TITLE = "stop-where", "Where a stop's time goes"
# Not a strategy's colour: light to dark along the way, with letters on them for those who see no colour.
COLOURS = ("#f3e3f1", "#dcb0d6", "#bd7ab5", "#93458c", "#5d1b59")
WIDE_ENOUGH, FOR_A_FIGURE = 0.07, 0.2  # of the axis, for a part's letter, and for its milliseconds, too
CLIENT_MOST = 1.4  # mean stops: a client that sees the end later is told in words, or the parts could not be read
BELOW = 0.36  # of a row: where the whiskers are, below the figures


def draw_where(folder: Path, panels: Sequence[Panel], parts: Mapping[CaseKey, Parts]) -> Chart:
    """Each part's mean as a share of the strategy's own mean stop, with the interval of the way up to its end."""
    shown = []
    for panel in panels:
        known = {case["strategy"]: parts[case_key(case)] for case in panel.cases if case_key(case) in parts}
        if known:
            shown.append((panel, known))
    if not shown:
        return left_out(NAME, TITLE, "the record has no stamps of the service on the way of an abort")
    rows = max(len(known) for _panel, known in shown)
    with figure(folder, NAME, height(len(shown), rows, TWO_LINES_IN) + 1.7, nrows=len(shown)) as (drawing, axes):
        for (panel, known), panel_axes in zip(shown, axes, strict=True):
            row_of = strategy_rows(panel_axes, list(known))
            margin_head(panel_axes, "mean, ms (n)\n[95 %]")
            right = _right(list(known.values()))
            for strategy, own in known.items():
                _draw_row(panel_axes, own, row_of[strategy], right)
            panel_axes.set_xlim(0, right)
            panel_axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
            panel_axes.grid(visible=False)
            panel_axes.set_title(panel.title)
        axes[-1].set_xlabel(
            "share of the strategy's own mean stop; in the bars: ms\n(all figures: in the table of the same name)"
        )
        handles = [_swatch(axes[0], colour) for colour in COLOURS]
        words = [f"{letter}  {word}" for letter, word in zip(LETTERS, WORDS.values(), strict=False)]
        handles.append(axes[0].plot([], [], "d", color="#222222", markerfacecolor="white")[0])
        words.append(f"{LETTERS[-1]}  the client sees the end (→: when, ms)")
        handles.append(axes[0].plot([], [], "|-", color="#222222", markersize=6, linewidth=1.1)[0])
        words.append("95 % interval of the mean way up to there")
        drawing.legend(handles, words, loc="outside lower left", handlelength=1.4)
    return Chart(NAME, TITLE, where_reading(shown[0][0].scenario, shown[0][1]))


def _draw_row(axes: Axes, parts: Parts, row: int, right: float) -> None:
    total, left = parts.whole.mean, 0.0
    shares = [part.mean / total for part in parts.each]
    for place, (letter, colour, part) in enumerate(zip(LETTERS, COLOURS, parts.each, strict=False)):
        share = shares[place]
        axes.barh(row, share, left=left, height=0.76, color=colour, edgecolor="white", linewidth=0.8)
        if share >= WIDE_ENOUGH * right:
            ink = "white" if letter in "de" else "black"
            text = f"{letter} {number(part.mean)}" if share >= FOR_A_FIGURE * right else letter
            axes.text(left + share / 2, row, text, ha="center", va="center", color=ink)
        if place == len(shares) - 1 or shares[place + 1] >= WIDE_ENOUGH * right:  # else two would lie on one another
            _whisker(axes, parts.upto[place], total, row)
        left += share
    if parts.client_end:
        after = parts.client_end.mean / total
        if after > CLIENT_MOST:
            late = f"{LETTERS[-1]} {number(parts.client_end.mean)} →"
            axes.text(right - 0.01, row, late, ha="right", va="center", color="#222222")
        else:
            axes.plot(after, row, "d", color="#222222", markerfacecolor="white", markersize=6, zorder=4)
            if abs(after - 1) >= WIDE_ENOUGH * right:
                _whisker(axes, parts.client_end, total, row, BELOW - 0.16)
    whole = parts.whole
    note = f"{number(whole.mean)}  ({parts.n})\n[{number(whole.low)} to {number(whole.high)}]"
    margin_note(axes, row, note, linespacing=0.95)


def _whisker(axes: Axes, mean: Mean, total: float, row: int, below: float = BELOW) -> None:
    ends = [mean.low / total, mean.high / total]
    axes.plot(ends, [row + below] * 2, "|-", color="#222222", markersize=4, linewidth=1.1, zorder=3)


def _right(parts: Sequence[Parts]) -> float:
    """The end of the axis: beyond the last interval, of the stops and of the clients' ends, up to a limit."""
    ends = [own.whole.high / own.whole.mean for own in parts]
    ends += [min(CLIENT_MOST, own.client_end.high / own.whole.mean) for own in parts if own.client_end]
    return max(1.0, *ends) + 0.04


def _swatch(axes: Axes, colour: str) -> Any:
    return axes.barh(0, 0, color=colour, edgecolor="#555555", linewidth=0.5)
