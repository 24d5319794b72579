"""Chart of the products: how long each way to stop takes in each scenario, and how often it never stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from bench.report.charts import canvas
from bench.report.charts.canvas import Chart

if TYPE_CHECKING:
    from bench.report.products import Cell

NAME = "products"
STOPPED, NEVER, EXPECTED = "#1b6ca8", "#b3261e", "#777777"
LIMITS_MS = (0.05, 500_000.0)
NEVER_AT_MS = 90_000.0


def draw_products(
    folder: Path, names: Sequence[str], scenarios: Sequence[str], cells: Mapping[tuple[str, str], Cell]
) -> Chart:
    """A panel per scenario, a row per contender: median (dot) to 95th percentile (line), share that never stopped."""
    tall = 0.27 * len(names) + 1.5
    with canvas.figure(
        folder, NAME, tall, nrows=1, ncols=len(scenarios), width_in=2.6 + 2.1 * len(scenarios), sharey=True
    ) as axes:
        for scenario, panel in zip(scenarios, axes, strict=True):
            panel.set_title(scenario)
            canvas.plain_ticks(panel)
            panel.set_xlim(*LIMITS_MS)
            panel.set_xticks([0.1, 1, 10, 100, 1000, 10_000], ["0.1", "1", "10", "100", "1 s", "10 s"])
            for row, name in enumerate(names):
                if cell := cells.get((name, scenario)):
                    _draw(panel, row, cell)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylim(len(names) - 0.5, -0.5)
        axes[0].figure.supxlabel(
            "milliseconds from the stop to the upstream's lost connection, of the stops that happened: dot p50, line to"
            " p95\n"
            "share of the stops whose upstream ran to its end: red (grey: the product documents it)",
            fontsize=canvas.LEAST_PT,
        )
    return Chart(NAME, "How fast each product stops its upstream.")


def _draw(panel: Axes, row: int, cell: Cell) -> None:
    p50, p95 = cell.value("upstream_stop_ms"), cell.value("upstream_stop_ms", "p95")
    if p50 is not None:
        panel.plot([p50, p95 or p50], [row, row], color=STOPPED, linewidth=1.6)
        panel.plot(p50, row, "o", color=STOPPED, markersize=5)
    if cell.never:
        colour = EXPECTED if cell.expected else NEVER
        percent = 100 * cell.never / cell.case.aborts
        share = f"{percent:.0f} %" if percent >= 1 else f"{percent:.1f} %"
        panel.text(NEVER_AT_MS, row, share, color=colour, va="center", ha="center", fontweight="bold")
