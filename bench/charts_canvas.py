"""What all charts share: the look, the axes' helpers, how a figure is saved so that it is the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no display: reports are made on servers and in CI
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.styles import strategy_rank

WIDTH_IN = 5.6  # with 10 pt type still legible when a phone shows it at 3.6 in
ROW_IN = 0.27
Case = dict[str, Any]

LOOK: dict[Any, Any] = {
    "font.size": 10,
    "figure.constrained_layout.h_pad": 0.09,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
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


@dataclass(frozen=True)
class Panel:
    """One scenario at one load: its cases in order, and its chats as a frame (one row per chat)."""

    scenario: str
    cases: list[Case]
    chats: pd.DataFrame

    @property
    def title(self) -> str:
        """Scenario and load in words."""
        workers, streams = self.cases[0]["workers"], self.cases[0]["streams"]
        return f"{self.scenario}: {workers} worker{'s' if workers != 1 else ''}, {streams} streams"

    def samples(self, strategy: str, metric: str) -> pd.Series[float]:
        """The metric's values over this panel's chats of one strategy, nulls dropped."""
        return self.chats.loc[self.chats["strategy"] == strategy, metric].dropna()


@contextmanager
def figure(folder: Path, name: str, height_in: float, **grid: Any) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure with its axes in one flat list; on leaving it is saved as charts/<name>.png and .svg."""
    charts = folder / "charts"
    charts.mkdir(exist_ok=True)
    with mpl.rc_context(LOOK):
        drawing, axes = plt.subplots(figsize=(WIDTH_IN, height_in), layout="constrained", squeeze=False, **grid)
        try:
            yield drawing, list(axes.flat)
            drawing.savefig(charts / f"{name}.png", dpi=170)
            drawing.savefig(charts / f"{name}.svg", metadata={"Date": None, "Creator": None})
        finally:
            plt.close(drawing)


def plain_log(axes: Axes) -> None:
    """A logarithmic x axis whose ticks are plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.6g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda _value, _position: ""))


def strategy_rows(axes: Axes, strategies: Sequence[str]) -> dict[str, int]:
    """One row per strategy, first on top; gives each one's y."""
    ordered = sorted(set(strategies), key=strategy_rank)
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    return {strategy: row for row, strategy in enumerate(ordered)}


def margin_note(axes: Axes, row: float, text: str, **style: Any) -> None:
    """Text in the right margin, level with a row."""
    look: dict[str, Any] = {"fontsize": 8.5, "va": "center", "color": "#222222", **style}
    axes.text(1.015, row, text, transform=axes.get_yaxis_transform(), **look)


def log_limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits with some room around positive values, wide enough for two labelled ticks."""
    positive = [value for value in values if value > 0] or [1.0]
    low = min(positive) * 0.7
    return low, max(max(positive) * 1.4, low * 30)


def height(panels: int, rows: int) -> float:
    """Figure height in inches for stacked panels of so many rows."""
    return panels * (rows * ROW_IN + 0.75) + 0.5
