"""Chart of the run from its first minute to its last: every stop as a dot, faults and unhealthy blocks shaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from bench.analysis.health import problems
from bench.analysis.metrics import NS_PER_MS
from bench.analysis.moments import Moment
from bench.analysis.reading import Run
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, style_of
from bench.workload.strategies import is_special

FAULT, UNHEALTHY = "#c1121f", "#b8860b"
LEGEND = {FAULT: "store killed", UNHEALTHY: "block over a limit"}
NS_PER_MIN = 60e9
MISSED_AT = 1.25  # limits: the row of crosses above all stops

Span = tuple[str, float, float]
"""Its colour, and its ends in minutes since the run began."""


def began_ns(run: Run) -> int:
    """When the first case of the run began, CLOCK_MONOTONIC."""
    return min((row.started_ns for row in run.cases), default=0)


def shaded(run: Run) -> list[Span]:
    """When a fault was injected, and the blocks whose instrument exceeded a limit."""
    began = began_ns(run)
    spans = [(FAULT, row.fault.down_ns, row.fault.up_ns) for row in run.cases if row.fault]
    spans += [(UNHEALTHY, row.started_ns, row.ended_ns) for row in run.cases if problems(row)]
    return [(colour, (start - began) / NS_PER_MIN, (end - began) / NS_PER_MIN) for colour, start, end in spans]


def draw_run(out: Path, run: Run, moments: Sequence[Moment], limits: tuple[float, float]) -> Chart:
    """Stop latency (log) over the time at which the abort was sent; a cross above all stops is a missed abort."""
    own = [each for each in moments if each.counted and not is_special(each.key.scenario)]
    if not own:
        return canvas.left_out("stop-over-time")
    began, spans = began_ns(run), shaded(run)
    names = list(dict.fromkeys(each.key.strategy for each in own))
    bands = [
        Line2D([], [], color=ink, linewidth=6, alpha=0.25, label=text)
        for ink, text in LEGEND.items()
        if ink in {s[0] for s in spans}
    ]
    low, high = limits
    with canvas.figure(out, "stop-over-time", 3.4, legend=names, others=bands, line=False) as (axes,):
        for colour, start, end in spans:
            axes.axvspan(start, end, color=colour, alpha=0.16, linewidth=0, zorder=0)
        for name in names:
            each_of = [each for each in own if each.key.strategy == name]
            stops = [(each.sent_ns, (each.lost_ns - each.sent_ns) / NS_PER_MS) for each in each_of if each.lost_ns]
            missed = [(each.sent_ns, high * MISSED_AT) for each in each_of if not each.lost_ns]
            for dots, marker, size in ((stops, style_of(name).marker, 2.0), (missed, "x", 3.0)):
                x = [(sent_ns - began) / NS_PER_MIN for sent_ns, _stop_ms in dots]
                look: dict[str, Any] = {"linestyle": "", "markersize": size, "rasterized": True}
                axes.plot(x, [stop_ms for _sent_ns, stop_ms in dots], marker, color=style_of(name).colour, **look)
        canvas.plain_ticks(axes, "y")
        axes.set(xlim=(0, None), ylim=(low, high * MISSED_AT**2), ylabel="abort sent → upstream lost  [ms, log]")
        axes.set_title(f"n = {len(own):,} aborts; crosses on top: missed")
    slowest = max(
        (each for each in own if each.lost_ns), key=lambda each: (each.lost_ns or 0) - each.sent_ns, default=None
    )
    return canvas.chart("stop-over-time", **_facts(own, slowest, began, spans))


def _facts(own: Sequence[Moment], slowest: Moment | None, began: int, spans: Sequence[Span]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "aborts": len(own),
        "faults": sum(colour == FAULT for colour, _start, _end in spans),
        "unhealthy": sum(colour == UNHEALTHY for colour, _start, _end in spans),
        "slowest": None,
    }
    if slowest and slowest.lost_ns:
        stop_ms, at_min = (slowest.lost_ns - slowest.sent_ns) / NS_PER_MS, (slowest.sent_ns - began) / NS_PER_MIN
        found["slowest"] = {"name": slowest.key.strategy, "in": slowest.key.scenario, "ms": stop_ms, "min": at_min}
    return found
