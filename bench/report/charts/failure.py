"""Charts of when a strategy fails: aborts missed by number of workers, an outage of the store, the knee."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.analysis.moments import Moment
from bench.record.schema import CaseKey, Fault
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, style_of
from bench.report.charts.data import Counts
from bench.report.formatting import number, span
from bench.report.pages import terms
from bench.stats.proportions import proportion_interval
from bench.workload.strategies import strategy_rank

LANE = 0.36  # half of a lane's height that single aborts are spread over
LOST = "#c1121f"
NS_PER_S = 1e9


def draw_workers(out: Path, where: str, counts: Counts) -> Chart:
    """Share of missed aborts with its Clopper-Pearson interval over the number of workers."""
    counts = {name: dict(sorted(counts[name].items())) for name in sorted(counts, key=strategy_rank) if name != "none"}
    numbers = sorted({workers for by_workers in counts.values() for workers in by_workers})
    if len(numbers) < 2:
        return canvas.left_out("missed-by-workers")
    missing = [name for name, each in counts.items() if any(missed for missed, _aborts in each.values())]
    whole = {name: each for name, each in counts.items() if name not in missing}
    facts: dict[str, Any] = {"counts": counts, "missing": missing, "whole": list(whole)}
    if not missing:
        return canvas.nothing_to_show("missed-by-workers", **facts)
    label = "chance of another worker: 1 − 1/n"  # noqa: RUF001
    chance = Line2D([], [], color="#888888", linewidth=6, alpha=0.3, label=label)
    with canvas.figure(out, "missed-by-workers", 4.1, legend=missing, others=[chance]) as (axes,):
        n = np.linspace(numbers[0], numbers[-1], 40)
        axes.plot(n, 1 - 1 / n, color="#888888", linewidth=6, alpha=0.22, zorder=1)
        for name in missing:
            shares = np.asarray([missed / aborts for missed, aborts in counts[name].values()])
            low, high = np.asarray([proportion_interval(*each) for each in counts[name].values()]).T
            spread = np.maximum([shares - low, high - shares], 0)
            axes.errorbar(list(counts[name]), shares, yerr=spread, capsize=3, **style_of(name).curve)
        if whole:
            _draw_whole(axes, whole)
        axes.set(xlim=(numbers[0] - 0.3, numbers[-1] + 0.3), ylim=(-0.34 if whole else -0.03, 1.03))
        axes.set_xticks(numbers)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        aborts = span([aborts for each in counts.values() for _missed, aborts in each.values()])
        axes.set(ylabel="aborts missed", title=f"{where}\nn = {aborts} aborts each; bars: 95 % intervals")
    return canvas.chart("missed-by-workers", **facts)


def _draw_whole(axes: Axes, counts: Counts) -> None:
    """Strategies that missed nothing overlap at 0 %: one line, and their names below it."""
    for each in counts.values():
        axes.plot(list(each), [0.0] * len(each), color=canvas.DARK, marker=".", linewidth=1.2)
    least = min(aborts for each in counts.values() for _missed, aborts in each.values())
    names = list(counts)
    lines = [", ".join(names[start : start + 4]) for start in range(0, len(names), 4)]
    text = "\n".join([f"none missed (n ≥ {least:,}: at most {100 * proportion_interval(0, least)[1]:.1f} %):", *lines])
    axes.annotate(text, (0.03, 0), (0, -12), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="top")


def draw_outage(out: Path, faults: Mapping[tuple[CaseKey, int], Fault], moments: Sequence[Moment]) -> Chart:
    """Every abort as a line from when it was first sent to the upstream's end, in seconds around the kill.

    `faults` are by case and block; blocks are overlaid, their kills at 0 s. Aborts whose answer had ended before they
    were accepted are left out: there was nothing left to stop.
    """
    rows = [
        (each.key.strategy, each.sent_ns - fault.down_ns, each.accepted_ns is not None,
         None if each.lost_ns is None else each.lost_ns - fault.down_ns)
        for each in moments
        if (fault := faults.get((each.key, each.block))) and (each.accepted_ns is None or each.counted)
    ]  # fmt: skip
    if not rows:
        return canvas.left_out("outage")
    aborts = pd.DataFrame(rows, columns=["strategy", "sent_s", "accepted", "stopped_s"])
    aborts[["sent_s", "stopped_s"]] = aborts[["sent_s", "stopped_s"]].astype(float) / NS_PER_S
    away_s = [(fault.up_ns - fault.down_ns) / NS_PER_S for fault in faults.values() if fault.up_ns]
    names = aborts["strategy"].unique().tolist()
    with canvas.figure(out, "outage", len(names) * 0.55 + 1.9) as (axes,):
        row_of = canvas.strategy_rows(axes, names, "accepted / of them\nstopped; refused")
        for away in (min(away_s), max(away_s)) if away_s else ():
            axes.axvspan(0, away, color="#888888", alpha=0.14, linewidth=0, zorder=0)
        for strategy in names:
            _draw_lane(axes, strategy, aborts[aborts["strategy"] == strategy], row_of[strategy])
        axes.axvline(0, color="black", linewidth=1.2)
        blocks = len({block for _key, block in faults})
        axes.set_title("every abort" + (f" of {blocks}\noutages, overlaid" if blocks != 1 else ""))
        axes.grid(visible=False, axis="y")
        marks = (
            ("o", "first sent; the line ends at the upstream's end", canvas.DARK),
            ("x", "accepted, never stopped", LOST),
            ("v", "never accepted (503)", canvas.DARK),
        )
        handles = [Line2D([], [], linestyle="", marker=at, color=ink, label=words) for at, words, ink in marks]
        axes.figure.legend(handles=handles, loc="outside lower left")
    return canvas.chart("outage", **outage_facts(aborts, away_s))


def outage_facts(aborts: pd.DataFrame, away_s: Sequence[float]) -> dict[str, Any]:
    """What the caption needs: aborts that were never accepted, and accepted ones that never stopped their chat."""
    accepted = aborts[aborts["accepted"]]
    taken = accepted["strategy"].value_counts(sort=False).to_dict()
    gone = accepted[accepted["stopped_s"].isna()]["strategy"].value_counts().to_dict()
    lost = {name: gone[name] for name in taken if name in gone}
    whole = [name for name in taken if name not in lost]
    return {
        "aborts": len(aborts), "refused": len(aborts) - len(accepted), "taken": taken, "lost": lost, "whole": whole,
        "kept": sum(taken[name] for name in whole), "away_s": statistics.median(away_s) if away_s else None,
    }  # fmt: skip


def _draw_lane(axes: Axes, strategy: str, aborts: pd.DataFrame, row: int) -> None:
    colour, ordered = style_of(strategy).colour, aborts.sort_values(["sent_s", "accepted", "stopped_s"])
    ordered["height"] = row + LANE * (2 * ((np.arange(len(ordered)) * 7) % 12) / 11 - 1)
    refused, accepted = ordered[~ordered["accepted"]], ordered[ordered["accepted"]]
    lost, stopped = accepted[accepted["stopped_s"].isna()], accepted.dropna()
    span: dict[str, Any] = {"color": colour, "linewidth": 0.8, "rasterized": True}
    axes.hlines(stopped["height"], stopped["sent_s"], stopped["stopped_s"], **span)
    for some, marker, ink, size in (
        (stopped, "o", colour, 2.2),
        (refused, "v", canvas.DARK, 4.5),
        (lost, "x", LOST, 5),
    ):
        dots: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": size, "rasterized": True}
        axes.plot(some["sent_s"], some["height"], color=ink, **dots)
    canvas.note(axes, row, f"{len(accepted)} / {len(stopped)}; {len(refused)}")


def draw_knee(out: Path, points: Sequence[Mapping[str, Any]]) -> Chart:
    """The highest rate each strategy sustained, with its interval; an arrow where the search ended before the service.

    `points` are the rows of knee.json (experiments.knee_run.as_point); `ci95` is that of `aborts_per_s`. Where not even
    the lowest rate could be tried there is nothing to draw.
    """
    tried = [point for point in points if point["aborts_per_s"] > 0]
    if not tried:
        return canvas.left_out("knee")
    limits = sorted(float(point["limit_ms"]) for point in tried)
    facts = {
        "limit": " to ".join(dict.fromkeys([f"{limits[0]:.3g}", f"{limits[-1]:.3g}"])),
        "bar": "bar: 95 % interval" if any(each.get("ci95") for each in tried) else "no intervals: a QUICK search",
        "more": "\narrow and ≥: sustained, the limit is higher" if any(each.get("at_least") for each in tried) else "",
    }
    with canvas.figure(out, "knee", canvas.height(1, len(tried), canvas.TWO_LINES_IN) + 0.5, x=facts) as (axes,):
        row_of = canvas.strategy_rows(axes, [point["strategy"] for point in tried], "aborts/s (chats/s)\nended by")
        for point in tried:
            _draw_knee(axes, point, row_of[point["strategy"]])
        canvas.plain_ticks(axes)
        axes.margins(x=0.15)
    return canvas.chart("knee", points=points)


def _draw_knee(axes: Axes, point: Mapping[str, Any], row: int) -> None:
    strategy, rate, bound = point["strategy"], point["aborts_per_s"], bool(point.get("at_least"))
    colour = style_of(strategy).colour
    if bound:
        arrow = {"arrowstyle": "<-", "color": colour, "linewidth": 1.4}
        axes.annotate("", (rate, row), (24, 0), textcoords="offset points", arrowprops=arrow)
    face = "white" if bound else colour
    canvas.mark(axes, rate, row, strategy, point.get("ci95"), markerfacecolor=face, markersize=7)
    figures = f"{'≥ ' if bound else ''}{number(rate)}  ({number(point['chats_per_s'])})"
    ended = terms("captions", "knee_ends").get(point.get("ended_by"), "")
    canvas.note(axes, row, f"{figures}\n{ended}" if ended else figures)
