"""Chart of where a stop's time goes: the parts of the way from the abort to the upstream, per strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.captions_stop import WORDS, parts_of, where_reading
from bench.charts_canvas import Case, Chart, Panel, figure, height, left_out, margin_head, margin_note, strategy_rows
from bench.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME, TITLE = "stop-where", "Where a stop's time goes"
# Not a strategy's colour: light to dark along the way, with letters on them for those who see no colour.
COLOURS = ("#f3e3f1", "#dcb0d6", "#bd7ab5", "#93458c", "#5d1b59")
WIDE_ENOUGH = 0.085  # of the bar, for its figure


def draw_where(folder: Path, panels: Sequence[Panel]) -> Chart:
    """Stacked bars of each part's mean, as shares of the strategy's own mean stop; milliseconds stand in them."""
    shown = [(panel, timed) for panel in panels if (timed := [case for case in panel.cases if parts_of(case)])]
    if not shown:
        return left_out(NAME, TITLE, "the record has no stamps of the service on the way of an abort")
    rows = max(len(timed) for _panel, timed in shown)
    with figure(folder, NAME, height(len(shown), rows) + 1.4, nrows=len(shown)) as (drawing, axes):
        for (panel, timed), panel_axes in zip(shown, axes, strict=True):
            row_of = strategy_rows(panel_axes, [case["strategy"] for case in timed])
            margin_head(panel_axes, "mean, ms (n)")
            for case in timed:
                _draw_row(panel_axes, case, row_of[case["strategy"]])
            panel_axes.set(xlim=(0, 1))
            panel_axes.grid(visible=False)
            panel_axes.xaxis.set_major_formatter(lambda share, _position: f"{share:.0%}".replace("%", " %"))
            panel_axes.set_title(panel.title)
        axes[-1].set_xlabel("share of the strategy's mean stop; in the bars: ms (means add up)")
        handles = [_swatch(axes[0], colour) for colour in COLOURS]
        words = [f"{letter}  {word}" for letter, word in zip("abcde", WORDS.values(), strict=True)]
        drawing.legend(handles, words, loc="outside lower left", fontsize=8.5, handlelength=1.4)
    return Chart(NAME, TITLE, where_reading(shown[0][1]))


def _draw_row(axes: Axes, case: Case, row: int) -> None:
    parts = parts_of(case)
    total = sum(parts.values())
    left = 0.0
    for letter, colour, name in zip("abcde", COLOURS, WORDS, strict=True):
        share = parts.get(name, 0.0) / total
        axes.barh(row, share, left=left, height=0.72, color=colour, edgecolor="white", linewidth=0.8)
        if share >= WIDE_ENOUGH:
            ink = "white" if letter in "de" else "black"
            text = f"{letter} {number(parts[name])}" if share >= 2 * WIDE_ENOUGH else number(parts[name])
            axes.text(left + share / 2, row, text, ha="center", va="center", fontsize=7.5, color=ink)
        left += share
    margin_note(axes, row, f"{number(total)}  ({case['waterfall']['sent_to_received'].get('n', '')})")


def _swatch(axes: Axes, colour: str) -> Any:
    return axes.barh(0, 0, color=colour, edgecolor="#555555", linewidth=0.5)
