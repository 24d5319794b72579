"""Charts of when a strategy fails: aborts missed by number of workers, an outage of the store, the knee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.moments import Moment
from bench.report.captions_cost import KNEE_ENDS, Counts, Pressed, knee_reading, outage_reading, workers_reading
from bench.report.charts.canvas import (
    TWO_LINES_IN,
    Chart,
    figure,
    height,
    left_out,
    margin_head,
    margin_note,
    plain_ticks,
    strategy_rows,
)
from bench.report.charts.labels import Named, name_curves
from bench.report.formatting import number, span
from bench.report.styles import style_of
from bench.stats.proportions import proportion_interval
from bench.workload.strategies import strategy_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORKERS, WORKERS_TITLE = "missed-by-workers", "Aborts missed, by number of workers"
OUTAGE, OUTAGE_TITLE = "outage", "The store is killed and comes back"
KNEE, KNEE_TITLE = "knee", "How much load a strategy bears"
LANE = 0.36  # half of a lane's height that single aborts are spread over
LOST = "#c1121f"
NS_PER_S = 1e9


def draw_workers(folder: Path, where: str, counts: Counts) -> Chart:
    """Share of missed aborts with its Clopper-Pearson interval over the number of workers; `counts` see Counts."""
    counts = {name: dict(sorted(counts[name].items())) for name in sorted(counts, key=strategy_rank) if name != "none"}
    numbers = sorted({workers for by_workers in counts.values() for workers in by_workers})
    if len(numbers) < 2:
        return left_out(WORKERS, WORKERS_TITLE, "the run has one number of workers only")
    missing = [name for name, each in counts.items() if any(missed for missed, _aborts in each.values())]
    whole = [name for name in counts if name not in missing]
    with figure(folder, WORKERS, 4.2) as (_drawing, (axes, *_rest)):
        guide = np.asarray([[n, 1 - 1 / n] for n in np.linspace(numbers[0], numbers[-1], 40)])
        axes.plot(guide[:, 0], guide[:, 1], color="#888888", linewidth=6, alpha=0.22, zorder=1)
        named = [_draw_missing(axes, name, counts[name]) for name in missing]
        if whole:
            _draw_whole(axes, {name: counts[name] for name in whole})
        axes.set(xlim=(numbers[0] - 0.3, numbers[-1] + 0.3), ylim=(-0.34 if whole else -0.03, 1.03))
        axes.set_xticks(numbers)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set(xlabel="worker processes", ylabel="aborts missed")
        n = span([aborts for each in counts.values() for _missed, aborts in each.values()])
        axes.set_title(f"{where}\nn = {n} aborts each; bars: 95 % intervals")
        name_curves([(axes, [*named, Named("chance to land elsewhere: 1 − 1/workers", "#595959", guide)])])  # noqa: RUF001
    return Chart(WORKERS, WORKERS_TITLE, workers_reading(counts))


def _draw_whole(axes: Axes, counts: Counts) -> None:
    """Those that missed nothing lie on one another at 0 %: one line, and their names below it."""
    for each in counts.values():
        axes.plot(list(each), [0.0] * len(each), color="#222222", marker=".", linewidth=1.2)
    least = min(aborts for each in counts.values() for _missed, aborts in each.values())
    top = f"{100 * proportion_interval(0, least)[1]:.1f} %"
    names = list(counts)
    lines = [", ".join(names[start : start + 4]) for start in range(0, len(names), 4)]
    text = "\n".join([f"none missed (n ≥ {least:,}: at most {top}):", *lines])
    axes.annotate(text, (0.03, 0), (0, -12), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="top")


def _draw_missing(axes: Axes, strategy: str, counts: Mapping[int, tuple[int, int]]) -> Named:
    look = style_of(strategy)
    shares = np.asarray([missed / aborts for missed, aborts in counts.values()])
    ends = np.asarray([proportion_interval(missed, aborts) for missed, aborts in counts.values()])
    spread = np.maximum([shares - ends[:, 0], ends[:, 1] - shares], 0)
    axes.errorbar(
        list(counts), shares, yerr=spread, color=look.colour, linestyle=look.line, marker=look.marker, capsize=3
    )
    return Named(strategy, look.colour, np.column_stack([list(counts), shares]), line=look.line, marker=look.marker)


def draw_outage(folder: Path, faults: Mapping[tuple[Any, int], Mapping[str, Any]], moments: Sequence[Moment]) -> Chart:
    """Every abort as a line from its first press to the upstream's end, in seconds around the kill.

    `faults` maps (case, block) to its `{"kind", "down_ns", "up_ns"}`; blocks lie on one another, their kills at 0 s.
    Aborts whose answer had ended before they were accepted are left out: there was nothing left to stop.
    """
    lanes: dict[str, list[Pressed]] = {}
    for each in moments:
        fault = faults.get((each.key, each.block))
        if fault and (each.accepted_ns is None or each.counted):
            at = [None if ns is None else (ns - fault["down_ns"]) / NS_PER_S for ns in (each.accepted_ns, each.lost_ns)]
            pressed = Pressed((each.sent_ns - fault["down_ns"]) / NS_PER_S, at[0] is not None, at[1])
            lanes.setdefault(each.key.strategy, []).append(pressed)
    if not lanes:
        return left_out(OUTAGE, OUTAGE_TITLE, "no store was killed in this run")
    away_s = [(fault["up_ns"] - fault["down_ns"]) / NS_PER_S for fault in faults.values() if fault["up_ns"]]
    with figure(folder, OUTAGE, len(lanes) * 0.55 + 1.9) as (drawing, (axes, *_rest)):
        row_of = strategy_rows(axes, list(lanes))
        margin_head(axes, "accepted / of them\nstopped; refused")
        for away in (min(away_s), max(away_s)) if away_s else ():
            axes.axvspan(0, away, color="#888888", alpha=0.14, linewidth=0, zorder=0)
        for strategy, aborts in lanes.items():
            _draw_lane(axes, strategy, sorted(aborts), row_of[strategy])
        axes.axvline(0, color="black", linewidth=1.2)
        axes.set_xlabel("seconds after the kill; grey: the store is away")
        blocks = len({block for _key, block in faults})
        axes.set_title("every abort" + (f" of {blocks}\noutages, overlaid" if blocks != 1 else ""))
        axes.grid(visible=False, axis="y")
        marks = [("o", "first pressed; line up to the upstream's end", "#222222"),
                 ("x", "accepted, never stopped", LOST), ("v", "never accepted (503)", "#222222")]  # fmt: skip
        handles = [axes.plot([], [], linestyle="", marker=mark, color=ink)[0] for mark, _words, ink in marks]
        drawing.legend(handles, [words for _mark, words, _ink in marks], loc="outside lower left")
    return Chart(OUTAGE, OUTAGE_TITLE, outage_reading(lanes, away_s))


def _draw_lane(axes: Axes, strategy: str, aborts: Sequence[Pressed], row: int) -> None:
    colour = style_of(strategy).colour
    height_of = {each: row + LANE * (2 * ((place * 7) % 12) / 11 - 1) for place, each in enumerate(aborts)}
    refused = [each for each in aborts if not each.accepted]
    lost = [each for each in aborts if each.accepted and each.stopped_s is None]
    stopped = [each for each in aborts if each.accepted and each.stopped_s is not None]
    axes.hlines(
        [height_of[each] for each in stopped],
        [each.sent_s for each in stopped],
        [each.stopped_s or 0.0 for each in stopped],
        color=colour, linewidth=0.8, rasterized=True,
    )  # fmt: skip
    looks: list[tuple[Sequence[Pressed], str, str, float]] = [
        (stopped, "o", colour, 2.2), (refused, "v", "#222222", 4.5), (lost, "x", LOST, 5)]  # fmt: skip
    for some, marker, ink, size in looks:
        axes.plot(
            [each.sent_s for each in some], [height_of[each] for each in some],
            linestyle="", marker=marker, color=ink, markersize=size, rasterized=True,
        )  # fmt: skip
    margin_note(axes, row, f"{len(stopped) + len(lost)} / {len(stopped)}; {len(refused)}")


def knee_chart(folder: Path, points: Sequence[Mapping[str, Any]]) -> Chart:
    """The highest rate each strategy bore, with its interval; an arrow where the search ended before the service did.

    `points` are the rows of knee.json (experiments.knee_run.as_point); `ci95` is that of `aborts_per_s`. Where not even
    the lowest rate could be tried there is nothing to draw.
    """
    every, points = points, [point for point in points if point["aborts_per_s"] > 0]
    if not points:
        return left_out(KNEE, KNEE_TITLE, "no knee was measured")
    with figure(folder, KNEE, height(1, len(points), TWO_LINES_IN) + 0.5) as (_drawing, (axes, *_rest)):
        row_of = strategy_rows(axes, [point["strategy"] for point in points])
        margin_head(axes, "aborts/s (chats/s)\nended by")
        for point in points:
            _draw_knee(axes, point, row_of[point["strategy"]])
        plain_ticks(axes)
        axes.margins(x=0.15)
        limits = sorted(float(point["limit_ms"]) for point in points)
        limit = " to ".join(dict.fromkeys([f"{limits[0]:.3g}", f"{limits[-1]:.3g}"]))
        bar = "bar: 95 % interval" if any(point.get("ci95") for point in points) else "no intervals: a QUICK search"
        more = "\narrow and ≥: held, the knee lies beyond" if any(point.get("at_least") for point in points) else ""
        axes.set_xlabel(f"aborts per second  [log]; {bar}\nlimit: stop p99 of {limit} ms, none missed{more}")
    return Chart(KNEE, KNEE_TITLE, knee_reading(every))


def _draw_knee(axes: Axes, point: Mapping[str, Any], row: int) -> None:
    look, rate, open_ = style_of(point["strategy"]), point["aborts_per_s"], bool(point.get("at_least"))
    if point.get("ci95"):
        axes.plot(point["ci95"], [row, row], color=look.colour, linewidth=4.5, alpha=0.45, solid_capstyle="butt")
    if open_:
        axes.annotate(
            "", (rate, row), (24, 0), textcoords="offset points",
            arrowprops={"arrowstyle": "<-", "color": look.colour, "linewidth": 1.4},
        )  # fmt: skip
    face = "white" if open_ else look.colour
    axes.plot(rate, row, look.marker, color=look.colour, markerfacecolor=face, markersize=7)
    figures = f"{'≥ ' if open_ else ''}{number(rate)}  ({number(point['chats_per_s'])})"
    ended = KNEE_ENDS.get(point.get("ended_by", ""), "")
    margin_note(axes, row, f"{figures}\n{ended}" if ended else figures, linespacing=0.95)
