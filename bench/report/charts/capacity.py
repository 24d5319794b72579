"""Chart of a plan: how much of one store server each strategy needs, over the number of live streams."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.analysis.capacity import GLOBAL, Demand, Model
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, Style, style_of

NAME = "capacity"
RANGE = (1.0, 8.0)  # powers of ten
LIMITS = (1e-5, 1e4)
GLOBAL_STYLE = Style("#aa4499", "-", "P")
STEPS = [(1e3, "k"), (1e6, "M")]


def draw_capacity(out: Path, model: Model, demand: Demand) -> Chart:
    """Load of one store server: solid up to the streams that were measured, dashed where extrapolated, X where full."""
    known = [name for name in model.names if model.store_load(name, demand) is not None]
    full = {name: model.full_at(name, demand) for name in known}
    ordered = sorted(known, key=lambda name: full[name] or np.inf)
    entries = [_entry(name, full[name]) for name in ordered]
    look: dict[str, Any] = {"color": canvas.DARK, "linewidth": 1.4}
    entries += [
        Line2D([], [], linestyle="-", label="solid: up to the streams that were measured", **look),
        Line2D([], [], linestyle=(0, (3, 2)), label="dashed: extrapolated", **look),
    ]
    each = f"{demand.tokens_per_s:g} tokens/s per stream, answers of {demand.answer_s:g} s"
    with canvas.figure(
        out, NAME, 3.4 + 0.22 * len(entries), title="How many live streams fill one store server?", width_in=5.4
    ) as (axes,):
        axes.set_title(f"{each}, {demand.abort_share:.0%} stopped")
        axes.set(xlim=(10 ** RANGE[0], 10 ** RANGE[1]), ylim=LIMITS)
        canvas.plain_ticks(axes, "xy")
        axes.set_xticks(
            [10.0**power for power in range(1, 9)], ["10", "100", "1 k", "10 k", "100 k", "1 M", "10 M", "100 M"]
        )
        axes.set_yticks([1e-4, 1e-2, 1, 100, 10_000], ["0.01 %", "1 %", "1 server", "100 servers", "10,000 servers"])
        axes.axhspan(1, LIMITS[1], color="#b3261e", alpha=0.07, linewidth=0)
        axes.axhline(1, color="#b3261e", linewidth=1.2)
        axes.text(12, 1.25, "one server is full", color="#b3261e", va="bottom")
        axes.axvline(demand.streams, color=canvas.GREY, linewidth=1.0, linestyle=(0, (2, 1.5)))
        axes.annotate("this plan", (demand.streams, LIMITS[0]), (3, 3), textcoords="offset points", color=canvas.GREY)
        for name in ordered:
            _draw(axes, model, name, demand, full[name])
        axes.set(xlabel="live streams", ylabel="load on the store")
        heading = "one store server is full at this many live streams:"
        axes.figure.legend(handles=entries, loc="outside lower left", title=heading, alignment="left", handlelength=3)
    return Chart(NAME, "How many streams fill one store server, by strategy.")


def _draw(axes: Axes, model: Model, name: str, demand: Demand, full_at: float | None) -> None:
    style, measured = _style(name), max(1.0, model.measured_streams.get(name, 0.0))
    streams = np.logspace(*RANGE, 24 * 7 + 1)
    streams = np.sort(np.append(streams, measured))
    load = np.asarray([model.store_load(name, demand.with_streams(each)) or np.nan for each in streams])
    within = streams <= measured
    axes.plot(streams[within], load[within], color=style.colour, linewidth=2.2)
    beyond = streams >= measured
    axes.plot(streams[beyond], load[beyond], color=style.colour, linewidth=1.3, linestyle=(0, (3, 2)))
    if full_at:
        axes.plot(full_at, 1.0, style.marker, color=style.colour, markersize=7, markeredgecolor="white", zorder=4)


def _entry(name: str, full_at: float | None) -> Line2D:
    style = _style(name)
    where = _streams(full_at) if full_at else "more than 1 billion"
    look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 6, "linewidth": 2.0}
    return Line2D([], [], label=f"{_label(name)}: {where}", **look)


def _style(name: str) -> Style:
    return GLOBAL_STYLE if name == GLOBAL else style_of(name)


def _label(name: str) -> str:
    return "redis-push with one channel for all workers" if name == GLOBAL else name


def _streams(count: float) -> str:
    for size, unit in reversed(STEPS):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g}"
