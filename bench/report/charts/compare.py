"""Charts of two runs in one picture: medians of the stop, and service CPU per token, A hollow and B filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.charts.canvas import (
    Chart,
    figure,
    height,
    left_out,
    margin_head,
    margin_note,
    plain_ticks,
    strategy_rows,
)
from bench.report.compare_text import Pair, apart, both_timed, where
from bench.report.evidence import METRIC, place_of
from bench.report.formatting import join, number
from bench.report.styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STOPS, STOPS_TITLE = "compare-stops", "Median stop in both runs"
COSTS, COSTS_TITLE = "compare-cpu", "Service CPU per token in both runs"
CPU = "server_cpu_us_per_token"
PANELS_PER_PICTURE = 2
SHIFT = 0.17  # A above, B below the row's middle


def draw_stops(folder: Path, pairs: Sequence[Pair], limits: tuple[float, float]) -> list[Chart]:
    """A row per strategy with both medians and their 95 % intervals; a picture for each two scenarios and loads."""
    places: dict[Any, list[Pair]] = {}
    for pair in pairs:
        if both_timed(pair):
            places.setdefault(place_of(pair[0]), []).append(pair)
    if not places:
        return [left_out(STOPS, STOPS_TITLE, "no case has a median in both runs")]
    charts, every = [], list(places.items())
    for start in range(0, len(every), PANELS_PER_PICTURE):
        some = every[start : start + PANELS_PER_PICTURE]
        number_ = start // PANELS_PER_PICTURE + 1
        name = STOPS if number_ == 1 else f"{STOPS}-{number_}"
        rows = max(len(own) for _place, own in some)
        with figure(folder, name, height(len(some), rows), nrows=len(some), sharex=True) as (_drawing, axes):
            for (place, own), panel_axes in zip(some, axes, strict=True):
                _draw_panel(panel_axes, own, METRIC)
                plain_ticks(panel_axes)
                panel_axes.set(xlim=limits)
                panel_axes.set_title(f"{place[0]}: {place[1]} worker{'s' if place[1] != 1 else ''}, {place[2]} streams")
                panel_axes.tick_params(labelbottom=True)
            axes[-1].set_xlabel(
                "median stop  [ms, log]; bars: 95 % intervals\nhollow: A, filled: B; *: the intervals lie apart"
            )
        told = [
            f"{pair[0]['strategy']} in {pair[0]['scenario']}" for _place, own in some for pair in own if apart(pair)
        ]
        reading = f"intervals lie apart for {join(told)}." if told else "all intervals overlap."
        title = STOPS_TITLE if number_ == 1 else f"{STOPS_TITLE} ({number_})"
        charts.append(Chart(name, title, f"In {join([where(own[0][0]) for _place, own in some])}: {reading}"))
    return charts


def draw_costs(folder: Path, pairs: Sequence[Pair]) -> Chart:
    """The same for CPU per token in the scenario in which nobody stops."""
    own = [pair for pair in pairs if pair[0]["scenario"] == "steady" and all(CPU in case["metrics"] for case in pair)]
    if not own:
        return left_out(COSTS, COSTS_TITLE, "the scenario steady was not run")
    with figure(folder, COSTS, height(1, len(own))) as (_drawing, (axes, *_rest)):
        _draw_panel(axes, own, CPU)
        axes.set_xlim(left=0)
        axes.set_xlabel("µs per token; hollow: A, filled: B; bars: 95 % intervals (6 blocks or more)")
        axes.set_title("steady")
    ratios = {pair[0]["strategy"]: _value(pair, 1, CPU) / _value(pair, 0, CPU) for pair in own}
    most = max(ratios, key=lambda name: max(ratios[name], 1 / ratios[name]))
    return Chart(COSTS, COSTS_TITLE, f"B over A differs most with {most}: {number(ratios[most])}.")


def _draw_panel(axes: Axes, pairs: Sequence[Pair], metric: str) -> None:
    row_of = strategy_rows(axes, [pair[0]["strategy"] for pair in pairs])
    margin_head(axes, "A → B (B/A)")
    for pair in pairs:
        look, row = style_of(pair[0]["strategy"]), row_of[pair[0]["strategy"]]
        for place, case in enumerate(pair):
            described, y = case["metrics"][metric], row + (SHIFT if place else -SHIFT)
            if ends := described["ci95"]["p50"]:
                axes.plot(ends, [y, y], color=look.colour, linewidth=3, alpha=0.45, solid_capstyle="butt")
            face = look.colour if place else "white"
            axes.plot(described["p50"], y, look.marker, color=look.colour, markerfacecolor=face, markersize=5)
        a, b = _value(pair, 0, metric), _value(pair, 1, metric)
        star = " *" if metric == METRIC and apart(pair) else ""
        margin_note(axes, row, f"{number(a)} → {number(b)} ({number(b / a)}){star}")


def _value(pair: Pair, place: int, metric: str) -> float:
    return float(pair[place]["metrics"][metric]["p50"])
