"""Charts of two runs in one picture: medians of the stop, and service CPU per token, A hollow and B filled."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from bench.analysis.comparison import STOP
from bench.analysis.ranking import Place, interval_of, median, place_of, value_of
from bench.record.summary import SummaryCase
from bench.report.cases import CPU, overlap
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, style_of
from bench.report.charts.stop import pictures
from bench.report.formatting import number

Pair = tuple[SummaryCase, SummaryCase]
SHIFT = 0.17  # A above, B below the row's middle


def draw_stops(out: Path, pairs: Sequence[Pair], limits: tuple[float, float]) -> list[Chart]:
    """A row per strategy with both medians and their 95 % intervals; a picture for each two scenarios and loads."""
    places: dict[Place, list[Pair]] = {}
    for pair in pairs:
        if all(value_of(case) is not None for case in pair):
            places.setdefault(place_of(pair[0]), []).append(pair)
    charts = []
    for name, some in pictures("compare-stops", list(places.items())):
        tall = canvas.height(len(some), max(len(own) for _place, own in some))
        with canvas.figure(out, name, tall, nrows=len(some), sharex=True) as every:
            for (place, own), axes in zip(some, every, strict=True):
                _draw_panel(axes, own, STOP)
                canvas.plain_ticks(axes)
                axes.set(xlim=limits, title=str(place))
                axes.tick_params(labelbottom=True)
        apart = [f"{a.strategy} in {a.scenario}" for _place, own in some for a, b in own if not overlap(a, b)]
        charts.append(canvas.chart(name, places=[place.short for place, _own in some], apart=apart))
    return charts or [canvas.left_out("compare-stops")]


def draw_costs(out: Path, pairs: Sequence[Pair]) -> Chart:
    """The same for CPU per token in the scenario without aborts."""
    own = [pair for pair in pairs if pair[0].scenario == "steady" and all(CPU in case.metrics for case in pair)]
    if not own:
        return canvas.left_out("compare-cpu")
    with canvas.figure(out, "compare-cpu", canvas.height(1, len(own))) as (axes,):
        _draw_panel(axes, own, CPU)
        axes.set(xlim=(0, axes.get_xlim()[1] * 1.05), title="steady")
    ratios = {a.strategy: median(b, CPU) / median(a, CPU) for a, b in own}
    most = max(ratios, key=lambda name: max(ratios[name], 1 / ratios[name]))
    return canvas.chart("compare-cpu", strategy=most, ratio=ratios[most])


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
