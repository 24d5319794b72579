"""What all charts share: the look, the axes' helpers, how a figure is saved so that it is the same every time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A report looks the same everywhere: not as the user's backend and matplotlibrc say, which may need a display or LaTeX.
os.environ["MPLBACKEND"] = "agg"
os.environ.pop("MATPLOTLIBRC", None)
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.report.formatting import number
from bench.report.styles import FLOOR_COLOUR
from bench.workload.strategies import strategy_rank

WIDTH_IN = 4.6  # a phone of 375 px shows it at some 3.7 in: 9 pt type is still 7 pt there
LEAST_PT = 9.0  # of any text in a picture
ROW_IN, TWO_LINES_IN = 0.3, 0.37
LONG_TITLE = 30  # letters
Case = dict[str, Any]
Floor = dict[str, Any] | None  # the summary's `floor`: what the instrument itself shows without any service

LOOK: dict[Any, Any] = {
    "font.size": LEAST_PT,
    "figure.titlesize": LEAST_PT,
    "figure.constrained_layout.h_pad": 0.09,
    "axes.titlesize": LEAST_PT,
    "axes.labelsize": LEAST_PT,
    "xtick.labelsize": LEAST_PT,
    "ytick.labelsize": LEAST_PT,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.fontsize": LEAST_PT,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "stopwatch-chat",  # else every rendering has other ids
}


@dataclass(frozen=True)
class Chart:
    """One chart: `name` is the file stem under charts/, `reading` the sentence; `drawn` false when data was lacking."""

    name: str
    title: str
    reading: str
    drawn: bool = True


def left_out(name: str, title: str, why: str) -> Chart:
    """A chart for which there is no data; `why` goes on after "Not drawn: "."""
    return Chart(name, title, f"Not drawn: {why}.", drawn=False)


@dataclass(frozen=True)
class Panel:
    """One scenario at one load: its cases in order, and its chats as a frame (one row per chat)."""

    scenario: str
    cases: list[Case]
    chats: pd.DataFrame

    @property
    def title(self) -> str:
        """Scenario and load in words, on two lines where one would reach into the margin's head."""
        workers, streams = self.cases[0]["workers"], self.cases[0]["streams"]
        load = f"{workers} worker{'s' if workers != 1 else ''}, {streams} streams"
        return f"{self.scenario}:{' ' if len(self.scenario + load) < LONG_TITLE else chr(10)}{load}"

    def samples(self, strategy: str, metric: str) -> pd.Series[float]:
        """The metric's values over this panel's chats of one strategy, nulls dropped."""
        return self.chats.loc[self.chats["strategy"] == strategy, metric].dropna()


@contextmanager
def figure(
    folder: Path, name: str, height_in: float, width_in: float = WIDTH_IN, **grid: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure with its axes in one flat list; on leaving it is saved as charts/<name>.png and .svg."""
    charts = folder / "charts"
    charts.mkdir(exist_ok=True)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(LOOK)
        drawing, axes = plt.subplots(figsize=(width_in, height_in), layout="constrained", squeeze=False, **grid)
        try:
            yield drawing, list(axes.flat)
            settle(drawing)
            drawing.savefig(charts / f"{name}.png", dpi=170)
            drawing.savefig(charts / f"{name}.svg", metadata={"Date": None, "Creator": None}, dpi=170)
        finally:
            plt.close(drawing)


def settle(drawing: Figure) -> None:
    """Find the layout, once: it is slow, and what is placed by it must not move afterwards."""
    if drawing.get_constrained_layout():
        drawing.draw_without_rendering()
        drawing.set_layout_engine("none")


def plain_ticks(axes: Axes, which: str = "x", *, log: bool = True) -> None:
    """Ticks that are plain numbers, on a logarithmic axis by default."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="minor", label1On=False)  # an empty label is laid out all the same
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.6g}"))


def floor_line(axes: Axes, floor: Floor, which: str = "x") -> None:
    """The instrument's own floor as a line; what lies within it of another is not told apart."""
    if not floor or not floor.get("p50"):
        return
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if not low < floor["p50"] < high:
        return
    look: dict[str, Any] = {"color": FLOOR_COLOUR, "linewidth": 1.1, "linestyle": (0, (2, 1.5)), "zorder": 1.5}
    text: dict[str, Any] = {"color": FLOOR_COLOUR, "textcoords": "offset points"}
    label = f"floor {number(floor['p50'])} ms"
    if which == "x":
        axes.axvline(floor["p50"], **look)
        text |= {"xycoords": axes.get_xaxis_transform(), "rotation": 90, "va": "top"}
        axes.annotate(label, (floor["p50"], 1.0), (-2, -3), ha="right", **text)
    else:
        axes.axhline(floor["p50"], **look)
        axes.annotate(label, (1.0, floor["p50"]), (-2, 2), xycoords=axes.get_yaxis_transform(), ha="right", **text)


def strategy_rows(axes: Axes, strategies: Sequence[str]) -> dict[str, int]:
    """One row per strategy, first on top; gives each one's y."""
    ordered = sorted(set(strategies), key=strategy_rank)
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    return {strategy: row for row, strategy in enumerate(ordered)}


def margin_note(axes: Axes, row: float, text: str, **style: Any) -> None:
    """Text in the right margin, level with a row."""
    look: dict[str, Any] = {"va": "center", "color": "#222222", **style}
    axes.text(1.015, row, text, transform=axes.get_yaxis_transform(), **look)


def margin_head(axes: Axes, text: str) -> None:
    """What the notes in the right margin are, above them, level with the title."""
    axes.annotate(
        text, (1.015, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
        fontweight="bold", color="#222222", va="bottom",
    )  # fmt: skip


def log_limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits with some room around positive values, wide enough for two labelled ticks."""
    positive = [value for value in values if value > 0] or [1.0]
    low = min(positive) * 0.7
    return low, max(max(positive) * 1.4, low * 30)


def height(panels: int, rows: int, row_in: float = ROW_IN) -> float:
    """Figure height in inches for stacked panels of so many rows; notes of two lines need rows of TWO_LINES_IN."""
    return panels * (rows * row_in + 0.75) + 0.5
