"""Charts of two runs in one picture: medians of the stop, and service CPU per token, A hollow and B filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from bench.record.summary import SummaryCase
from bench.report.cases import CPU, STOP, Place, interval_of, median, overlap, place_of, value_of
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart
from bench.report.charts.stop import PANELS_PER_PICTURE
from bench.report.formatting import listed, number
from bench.report.styles import style_of

Pair = tuple[SummaryCase, SummaryCase]
SHIFT = 0.17  # A above, B below the row's middle


def draw_stops(folder: Path, pairs: Sequence[Pair], limits: tuple[float, float]) -> list[Chart]:
    """A row per strategy with both medians and their 95 % intervals; a picture for each two scenarios and loads."""
    places: dict[Place, list[Pair]] = {}
    for pair in pairs:
        if all(value_of(case) is not None for case in pair):
            places.setdefault(place_of(pair[0]), []).append(pair)
    if not places:
        return [canvas.left_out("compare-stops", "no case has a median in both runs")]
    charts, every = [], list(places.items())
    for count, start in enumerate(range(0, len(every), PANELS_PER_PICTURE), 1):
        some = every[start : start + PANELS_PER_PICTURE]
        name = "compare-stops" + (f"-{count}" if count > 1 else "")
        tall = canvas.height(len(some), max(len(own) for _place, own in some))
        with canvas.figure(folder, name, tall, nrows=len(some), sharex=True) as (_drawing, axes):
            for (place, own), panel_axes in zip(some, axes, strict=True):
                _draw_panel(panel_axes, own, STOP)
                canvas.plain_ticks(panel_axes)
                panel_axes.set(xlim=limits, title=str(place))
                panel_axes.tick_params(labelbottom=True)
            axes[-1].set_xlabel(
                "median stop  [ms, log]; bars: 95 % intervals\nhollow: A, filled: B; *: intervals do not overlap"
            )
        apart = [f"{a.strategy} in {a.scenario}" for _place, own in some for a, b in own if not overlap(a, b)]
        reading = f"the intervals of {listed(apart)} do not overlap." if apart else "all intervals overlap."
        charts.append(Chart(name, f"In {listed([place.short for place, _own in some])}: {reading}"))
    return charts


def draw_costs(folder: Path, pairs: Sequence[Pair]) -> Chart:
    """The same for CPU per token in the scenario without aborts."""
    own = [pair for pair in pairs if pair[0].scenario == "steady" and all(CPU in case.metrics for case in pair)]
    if not own:
        return canvas.left_out("compare-cpu", "the scenario steady was not run")
    with canvas.figure(folder, "compare-cpu", canvas.height(1, len(own))) as (_drawing, (axes, *_rest)):
        _draw_panel(axes, own, CPU)
        axes.set(xlim=(0, axes.get_xlim()[1] * 1.05), title="steady")
        axes.set_xlabel("µs per token; hollow: A, filled: B\nbars: 95 % intervals (6 blocks or more)")
    ratios = {a.strategy: median(b, CPU) / median(a, CPU) for a, b in own}
    most = max(ratios, key=lambda name: max(ratios[name], 1 / ratios[name]))
    return Chart("compare-cpu", f"The largest ratio of B to A is that of {most}: {number(ratios[most])}.")


def _draw_panel(axes: Axes, pairs: Sequence[Pair], metric: str) -> None:
    row_of = canvas.strategy_rows(axes, [a.strategy for a, _b in pairs], "A → B (B/A)")
    for pair in pairs:
        name, row = pair[0].strategy, row_of[pair[0].strategy]
        for case, shift, face in zip(pair, (-SHIFT, SHIFT), ("white", style_of(name).colour), strict=True):
            ends = interval_of(case, metric)
            canvas.mark(axes, median(case, metric), row + shift, name, ends, markerfacecolor=face, markersize=5)
        a, b = (median(case, metric) for case in pair)
        star = " *" if metric == STOP and not overlap(*pair) else ""
        canvas.note(axes, row, f"{number(a)} → {number(b)} ({number(b / a)}){star}")
