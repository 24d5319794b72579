"""What all charts share: their titles and look, helpers for axes, and saving the same bytes every time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A report looks the same everywhere: the user's backend and matplotlibrc could need a display or LaTeX.
os.environ["MPLBACKEND"] = "agg"
os.environ.pop("MATPLOTLIBRC", None)
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.record.summary import Metric
from bench.report.formatting import number
from bench.report.styles import FLOOR_COLOUR, style_of
from bench.workload.strategies import strategy_rank

WIDTH_IN = 4.6  # a phone of 375 px shows it at some 3.7 in: 9 pt type is still 7 pt there
LEAST_PT = 9.0  # of any text in a picture
DPI = 170
ROW_IN, TWO_LINES_IN, LEGEND_ROW_IN = 0.3, 0.37, 0.19
GREY, DARK = "#666666", "#222222"
TITLES = {
    "stop-ecdf": "Share of aborts that had stopped the upstream, by time",
    "stop-tail": "How slow the slowest stops are",
    "stop-lanes": "One chat of each strategy, token by token",
    "stop-where": "Breakdown of the stop latency",
    "stop-in-gap": "When the abort is sent in the gap between two tokens",
    "stop-by-pace": "Faster or slower tokens",
    "stop-by-scenario": "Median and tail of the stop, by scenario",
    "wasted-tokens": "Tokens written after the abort was sent",
    "waste-price": "Price of the wasted tokens",
    "cost": "Cost of a strategy without aborts",
    "cost-against-stop": "Cost of a fast stop",
    "missed-by-workers": "Aborts missed, by number of workers",
    "outage": "The store is killed and restarted",
    "knee": "Highest load that a strategy sustains",
    "compare-stops": "Median stop in both runs",
    "compare-cpu": "Service CPU per token in both runs",
}
LOOK: dict[Any, Any] = {
    **dict.fromkeys(
        ("font.size", "figure.titlesize", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize",
         "legend.fontsize"), LEAST_PT),
    "figure.constrained_layout.h_pad": 0.09,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else each drawing looks for free room above all ticks
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.hashsalt": "stopwatch-chat",  # else every rendering has other ids
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """One chart: `name` is the file stem under charts/, `reading` the text; `drawn` false when data is missing."""

    name: str
    reading: str
    drawn: bool = True

    @property
    def title(self) -> str:
        """From TITLES; the second picture of `name` is `name-2`."""
        base, _, count = self.name.rpartition("-")
        return TITLES.get(self.name) or f"{TITLES[base]} ({count})"


def left_out(name: str, why: str) -> Chart:
    """A chart without data; `why` follows "Not drawn: "."""
    return Chart(name, f"Not drawn: {why}.", drawn=False)


@contextmanager
def figure(folder: Path, name: str, height_in: float, **grid: Any) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure with its axes in one flat list; on leaving it is saved as charts/<name>.png and .svg."""
    charts = folder / "charts"
    charts.mkdir(exist_ok=True)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(LOOK)
        width_in = grid.pop("width_in", WIDTH_IN)
        drawing = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = drawing.subplots(squeeze=False, **grid)
        yield drawing, list(axes.flat)
        save(drawing, charts / name)


def save(drawing: Figure, stem: Path) -> None:
    """Write `stem`.png and `stem`.svg. `Figure.savefig` would find the layout and draw twice for each of them."""
    if engine := drawing.get_layout_engine():
        engine.execute(drawing)
        drawing.set_layout_engine("none")
    drawing.dpi = DPI
    FigureCanvasAgg(drawing).print_png(stem.with_suffix(".png"))  # type: ignore[no-untyped-call]
    no_dates = {"Date": None, "Creator": None}
    FigureCanvasSVG(drawing).print_svg(stem.with_suffix(".svg"), metadata=no_dates)  # type: ignore[no-untyped-call]


def height(panels: int, rows: int, row_in: float = ROW_IN) -> float:
    """Figure height in inches for stacked panels of this many rows; notes of two lines need rows of TWO_LINES_IN."""
    return panels * (rows * row_in + 0.75) + 0.5


def legend_height(entries: int) -> float:
    """What a legend in two columns adds to a figure's height, in inches."""
    return (entries + 1) // 2 * LEGEND_ROW_IN + 0.15


def legend_of(drawing: Figure, strategies: Iterable[str], *others: Line2D, line: bool = True) -> None:
    """A legend of strategies (and other labelled lines) below the axes; the figure needs `legend_height` for it."""
    look = {} if line else {"linestyle": ""}
    ordered = sorted(set(strategies), key=strategy_rank)
    handles = [Line2D([], [], label=name, **style_of(name).curve | look) for name in ordered]
    drawing.legend(handles=[*handles, *others], loc="outside lower left", ncol=2, handlelength=3)


def plain_ticks(axes: Axes, which: str = "x", *, log: bool = True) -> None:
    """Ticks that are plain numbers, on a logarithmic axis by default."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="minor", label1On=False)  # an empty label takes part in the layout
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.6g}"))


def floor_line(axes: Axes, floor: Metric | None, which: str = "x") -> None:
    """The instrument's own floor as a line: smaller differences are not claimed."""
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if not floor or not floor.p50 or not low < floor.p50 < high:
        return
    look: dict[str, Any] = {"color": FLOOR_COLOUR, "linewidth": 1.1, "linestyle": (0, (2, 1.5)), "zorder": 1.5}
    text: dict[str, Any] = {"color": FLOOR_COLOUR, "textcoords": "offset points", "ha": "right"}
    label = f"floor {number(floor.p50)} ms"
    if which == "x":
        axes.axvline(floor.p50, **look)
        text |= {"xycoords": axes.get_xaxis_transform(), "rotation": 90, "va": "top"}
        axes.annotate(label, (floor.p50, 1.0), (-2, -3), **text)
    else:
        axes.axhline(floor.p50, **look)
        axes.annotate(label, (1.0, floor.p50), (-2, 2), xycoords=axes.get_yaxis_transform(), **text)


def strategy_rows(axes: Axes, strategies: Iterable[str], head: str = "") -> dict[str, int]:
    """One row per strategy, first on top, with the head of the notes in the right margin; gives each row's y."""
    ordered = sorted(set(strategies), key=strategy_rank)
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.annotate(
        head, (1.015, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
        fontweight="bold", color=DARK, va="bottom",
    )  # fmt: skip
    return {strategy: row for row, strategy in enumerate(ordered)}


def note(axes: Axes, row: float, text: str, color: str = DARK) -> None:
    """Text in the right margin, level with a row."""
    axes.text(1.015, row, text, transform=axes.get_yaxis_transform(), va="center", color=color, linespacing=0.95)


def mark(axes: Axes, x: float, row: float, strategy: str, ends: Sequence[float] | None = None, **look: Any) -> None:
    """A strategy's marker, over the thick bar of its 95 % interval."""
    style = style_of(strategy)
    if ends:
        axes.plot(ends, [row, row], color=style.colour, linewidth=4.5, alpha=0.45, solid_capstyle="butt")
    axes.plot(x, row, style.marker, color=style.colour, **{"markersize": 6, **look})


def log_limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits with some room around positive values, wide enough for two labelled ticks."""
    positive = [value for value in values if value > 0] or [1.0]
    low = min(positive) * 0.7
    return low, max(max(positive) * 1.4, low * 30)
