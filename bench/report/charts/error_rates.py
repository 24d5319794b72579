"""Chart of the gate's error rates: the probability of `worse` over the shift, a line per number of blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.charts import canvas
from bench.report.charts.canvas import Chart

NAME = "error-rates"
COLOURS = ("#56b4e9", "#0072b2", "#08306b", "#00543d")
WRONG = "#b3261e"
Row = dict[str, Any]


def draw_error_rates(out: Path, rows: Sequence[Row]) -> Chart:
    """A panel per case and metric; `rows` are the cells of simulated.json. A red cross: share of wrong verdicts."""
    panels = list(dict.fromkeys((row["case"], row["metric"]) for row in rows))
    blocks = sorted({row["blocks"] for row in rows})
    look = dict(zip(blocks, COLOURS, strict=False))
    entries = [Line2D([], [], color=look[each], marker="o", label=f"{each} blocks: worse") for each in blocks]
    entries.append(Line2D([], [], color=WRONG, marker="X", linestyle="", label="wrong verdicts"))
    height = canvas.height(len(panels), 6)
    with canvas.figure(
        out, NAME, height, others=entries, title="Which changes does the gate find?", nrows=len(panels), ncols=1
    ) as all_axes:
        for axes, panel in zip(all_axes, panels, strict=True):
            own = [row for row in rows if (row["case"], row["metric"]) == panel]
            axes.set_title(f"{panel[1]}, {panel[0]}")
            for each in blocks:
                _draw(axes, [row for row in own if row["blocks"] == each], look[each])
            margin = 100 * own[0]["margin"]
            axes.axvline(margin, color=canvas.GREY, linewidth=1.0, linestyle=(0, (2, 1.5)))
            axes.annotate("margin", (margin, 50), (3, 0), textcoords="offset points", color=canvas.GREY)
            axes.set(ylim=(-4, 104), ylabel="share of comparisons, %")
        all_axes[-1].set_xlabel("shift of head, %")
    return Chart(NAME, "Probability of worse over the shift, by number of blocks.")


def _draw(axes: Axes, rows: Sequence[Row], colour: str) -> None:
    shifts = [100 * row["shift"] for row in rows]
    runs = [sum(row["counts"].values()) for row in rows]
    shares = [100 * row["counts"]["worse"] / count for row, count in zip(rows, runs, strict=True)]
    axes.plot(shifts, shares, color=colour, marker="o", markersize=4, linewidth=1.8)
    for shift, row, count in zip(shifts, rows, runs, strict=True):
        if wrong := sum(row["counts"][name] for name in row["wrong"]):
            axes.plot(shift, 100 * wrong / count, "X", color=WRONG, markersize=6, zorder=5)
