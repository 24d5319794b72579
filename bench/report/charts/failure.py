"""Charts of when a strategy fails: aborts missed by number of workers, an outage of the store, the knee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.analysis.moments import Moment
from bench.record.schema import CaseKey, Fault
from bench.report.captions import Counts, Pressed, knee_reading, outage_reading, workers_reading
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart
from bench.report.formatting import number, span
from bench.report.pages import terms
from bench.report.styles import style_of
from bench.stats.proportions import proportion_interval
from bench.workload.strategies import strategy_rank

LANE = 0.36  # half of a lane's height that single aborts are spread over
LOST = "#c1121f"
NS_PER_S = 1e9


def draw_workers(folder: Path, where: str, counts: Counts) -> Chart:
    """Share of missed aborts with its Clopper-Pearson interval over the number of workers; `counts` see Counts."""
    counts = {name: dict(sorted(counts[name].items())) for name in sorted(counts, key=strategy_rank) if name != "none"}
    numbers = sorted({workers for by_workers in counts.values() for workers in by_workers})
    if len(numbers) < 2:
        return canvas.left_out("missed-by-workers", "the run has one number of workers only")
    missing = [name for name, each in counts.items() if any(missed for missed, _aborts in each.values())]
    whole = {name: each for name, each in counts.items() if name not in missing}
    with canvas.figure(folder, "missed-by-workers", 4.1 + canvas.legend_height(len(missing) + 2)) as (
        drawing,
        (axes, *_rest),
    ):
        n = np.linspace(numbers[0], numbers[-1], 40)
        axes.plot(n, 1 - 1 / n, color="#888888", linewidth=6, alpha=0.22, zorder=1)
        for name in missing:
            _draw_missing(axes, name, counts[name])
        if whole:
            _draw_whole(axes, whole)
        axes.set(xlim=(numbers[0] - 0.3, numbers[-1] + 0.3), ylim=(-0.34 if whole else -0.03, 1.03))
        axes.set_xticks(numbers)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set(xlabel="worker processes", ylabel="aborts missed")
        aborts = span([aborts for each in counts.values() for _missed, aborts in each.values()])
        axes.set_title(f"{where}\nn = {aborts} aborts each; bars: 95 % intervals")
        label = "chance of another worker: 1 − 1/n"  # noqa: RUF001
        canvas.legend_of(drawing, missing, Line2D([], [], color="#888888", linewidth=6, alpha=0.3, label=label))
    return Chart("missed-by-workers", workers_reading(counts))


def _draw_whole(axes: Axes, counts: Counts) -> None:
    """Strategies that missed nothing overlap at 0 %: one line, and their names below it."""
    for each in counts.values():
        axes.plot(list(each), [0.0] * len(each), color=canvas.DARK, marker=".", linewidth=1.2)
    least = min(aborts for each in counts.values() for _missed, aborts in each.values())
    names = list(counts)
    lines = [", ".join(names[start : start + 4]) for start in range(0, len(names), 4)]
    text = "\n".join([f"none missed (n ≥ {least:,}: at most {100 * proportion_interval(0, least)[1]:.1f} %):", *lines])
    axes.annotate(text, (0.03, 0), (0, -12), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="top")


def _draw_missing(axes: Axes, strategy: str, counts: Mapping[int, tuple[int, int]]) -> None:
    shares = np.asarray([missed / aborts for missed, aborts in counts.values()])
    low, high = np.asarray([proportion_interval(missed, aborts) for missed, aborts in counts.values()]).T
    spread = np.maximum([shares - low, high - shares], 0)
    axes.errorbar(list(counts), shares, yerr=spread, capsize=3, **style_of(strategy).curve)


def draw_outage(folder: Path, faults: Mapping[tuple[CaseKey, int], Fault], moments: Sequence[Moment]) -> Chart:
    """Every abort as a line from when it was first sent to the upstream's end, in seconds around the kill.

    `faults` are by case and block; blocks are overlaid, their kills at 0 s. Aborts whose answer had ended before they
    were accepted are left out: there was nothing left to stop.
    """
    lanes: dict[str, list[Pressed]] = {}
    for each in moments:
        fault = faults.get((CaseKey(*each.key), each.block))
        if fault and (each.accepted_ns is None or each.counted):
            stopped_s = None if each.lost_ns is None else (each.lost_ns - fault.down_ns) / NS_PER_S
            pressed = Pressed((each.sent_ns - fault.down_ns) / NS_PER_S, each.accepted_ns is not None, stopped_s)
            lanes.setdefault(each.key.strategy, []).append(pressed)
    if not lanes:
        return canvas.left_out("outage", "no store was killed in this run")
    away_s = [(fault.up_ns - fault.down_ns) / NS_PER_S for fault in faults.values() if fault.up_ns]
    with canvas.figure(folder, "outage", len(lanes) * 0.55 + 1.9) as (drawing, (axes, *_rest)):
        row_of = canvas.strategy_rows(axes, lanes, "accepted / of them\nstopped; refused")
        for away in (min(away_s), max(away_s)) if away_s else ():
            axes.axvspan(0, away, color="#888888", alpha=0.14, linewidth=0, zorder=0)
        for strategy, aborts in lanes.items():
            _draw_lane(axes, strategy, sorted(aborts), row_of[strategy])
        axes.axvline(0, color="black", linewidth=1.2)
        axes.set_xlabel("seconds after the kill; grey: the store is unavailable")
        blocks = len({block for _key, block in faults})
        axes.set_title("every abort" + (f" of {blocks}\noutages, overlaid" if blocks != 1 else ""))
        axes.grid(visible=False, axis="y")
        marks = (
            ("o", "first sent; the line ends at the upstream's end", canvas.DARK),
            ("x", "accepted, never stopped", LOST),
            ("v", "never accepted (503)", canvas.DARK),
        )
        handles = [Line2D([], [], linestyle="", marker=at, color=ink, label=words) for at, words, ink in marks]
        drawing.legend(handles=handles, loc="outside lower left")
    return Chart("outage", outage_reading(lanes, away_s))


def _draw_lane(axes: Axes, strategy: str, aborts: Sequence[Pressed], row: int) -> None:
    colour = style_of(strategy).colour
    height_of = {each: row + LANE * (2 * ((place * 7) % 12) / 11 - 1) for place, each in enumerate(aborts)}
    refused = [each for each in aborts if not each.accepted]
    lost = [each for each in aborts if each.accepted and each.stopped_s is None]
    stopped = [each for each in aborts if each.accepted and each.stopped_s is not None]
    heights = [height_of[each] for each in stopped]
    ends = [each.stopped_s or 0.0 for each in stopped]
    axes.hlines(heights, [each.sent_s for each in stopped], ends, color=colour, linewidth=0.8, rasterized=True)
    looks: list[tuple[Sequence[Pressed], str, str, float]] = [
        (stopped, "o", colour, 2.2), (refused, "v", canvas.DARK, 4.5), (lost, "x", LOST, 5)]  # fmt: skip
    for some, marker, ink, size in looks:
        x, y = [each.sent_s for each in some], [height_of[each] for each in some]
        axes.plot(x, y, linestyle="", marker=marker, color=ink, markersize=size, rasterized=True)
    canvas.note(axes, row, f"{len(stopped) + len(lost)} / {len(stopped)}; {len(refused)}")


def draw_knee(folder: Path, points: Sequence[Mapping[str, Any]]) -> Chart:
    """The highest rate each strategy sustained, with its interval; an arrow where the search ended before the service.

    `points` are the rows of knee.json (experiments.knee_run.as_point); `ci95` is that of `aborts_per_s`. Where not even
    the lowest rate could be tried there is nothing to draw.
    """
    tried = [point for point in points if point["aborts_per_s"] > 0]
    if not tried:
        return canvas.left_out("knee", "no knee was measured")
    with canvas.figure(folder, "knee", canvas.height(1, len(tried), canvas.TWO_LINES_IN) + 0.5) as (
        _drawing,
        (axes, *_rest),
    ):
        row_of = canvas.strategy_rows(axes, [point["strategy"] for point in tried], "aborts/s (chats/s)\nended by")
        for point in tried:
            _draw_knee(axes, point, row_of[point["strategy"]])
        canvas.plain_ticks(axes)
        axes.margins(x=0.15)
        limits = sorted(float(point["limit_ms"]) for point in tried)
        limit = " to ".join(dict.fromkeys([f"{limits[0]:.3g}", f"{limits[-1]:.3g}"]))
        bar = "bar: 95 % interval" if any(point.get("ci95") for point in tried) else "no intervals: a QUICK search"
        more = "\narrow and ≥: sustained, the limit is higher" if any(point.get("at_least") for point in tried) else ""
        axes.set_xlabel(f"aborts per second  [log]; {bar}\nlimit: stop p99 of {limit} ms, none missed{more}")
    return Chart("knee", knee_reading(points))


def _draw_knee(axes: Axes, point: Mapping[str, Any], row: int) -> None:
    strategy, rate, bound = point["strategy"], point["aborts_per_s"], bool(point.get("at_least"))
    colour = style_of(strategy).colour
    if bound:
        arrow = {"arrowstyle": "<-", "color": colour, "linewidth": 1.4}
        axes.annotate("", (rate, row), (24, 0), textcoords="offset points", arrowprops=arrow)
    canvas.mark(
        axes, rate, row, strategy, point.get("ci95"), markerfacecolor="white" if bound else colour, markersize=7
    )
    figures = f"{'≥ ' if bound else ''}{number(rate)}  ({number(point['chats_per_s'])})"
    ended = terms("captions", "knee_ends").get(point.get("ended_by"), "")
    canvas.note(axes, row, f"{figures}\n{ended}" if ended else figures)
