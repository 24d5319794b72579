"""Swim lanes: one recorded chat per strategy, token by token, and the stamps of its stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.analysis.moments import NS_PER_MS
from bench.record.schema import ChatRow, ServiceSide
from bench.report.captions import lanes_reading
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart
from bench.report.formatting import number
from bench.report.styles import style_of

NAME = "stop-lanes"
BEFORE_TOKENS, AFTER_TOKENS, MOST_WINDOW_MS = 3, 2, 400.0
QUICK_MS = 8.0  # lanes that are over within this get a second, closer look
INK, WASTED, WASTED_MARK = "#333333", "#c1121f", "X"  # another mark, too: red and dark grey look alike to some
SIGNS = {  # stamp -> marker, what it means
    "recorded": ("|", "recorded in the store"),
    "signal": (4, "signalled to the worker"),
    "closed": (5, "closed by the worker"),
    "lost": ("s", "lost at the upstream"),
    "end": ("d", "client's stream ended"),
}
Lane = dict[str, list[float]]


def draw_lanes(folder: Path, rows: Mapping[str, ChatRow], itl_ms: float, where: str) -> Chart:
    """Tokens as the upstream wrote them, around the moment of the abort; `rows` are recorded chats by strategy."""
    lanes = {strategy: stamps(row) for strategy, row in rows.items()}
    if not lanes:
        return canvas.left_out(NAME, "no abort was counted")
    ends = [lane["lost"][0] for lane in lanes.values() if lane["lost"]]
    right = min(max([*ends, itl_ms]) + AFTER_TOKENS * itl_ms, MOST_WINDOW_MS)
    quick = {name: lane for name, lane in lanes.items() if lane["lost"] and lane["lost"][0] <= QUICK_MS}
    panels = [(lanes, -BEFORE_TOKENS * itl_ms, right)]
    if quick and len(quick) < len(lanes):
        panels.append((quick, -0.5, max(max([*lane["lost"], *lane["end"]]) for lane in quick.values()) * 1.06))
    rows_in = [len(each) for each, _low, _high in panels]
    tall, ratios = sum(canvas.height(1, count) for count in rows_in) + 1.6, [count + 1.5 for count in rows_in]
    with canvas.figure(folder, NAME, tall, nrows=len(panels), height_ratios=ratios) as (drawing, axes):
        for (shown, low, high), panel_axes in zip(panels, axes, strict=True):
            _draw_panel(panel_axes, shown, low, high, [] if shown is quick or len(panels) == 1 else list(quick))
        drawing.suptitle(f"{where}\neach strategy's chat with the median stop (n = 1 each)", x=0.01, ha="left")
        if len(panels) > 1:
            axes[1].set_title("the quick ones, enlarged")
        axes[-1].set_xlabel("ms after the abort was sent")
        drawing.legend(handles=_legend(), loc="outside lower left", ncol=2, handlelength=1.2)
    return Chart(NAME, lanes_reading(rows))


def stamps(row: ChatRow) -> Lane:
    """Milliseconds after the abort was sent: `tokens`, and every stamp of the stop in a list that may be empty."""
    if not (row.abort and row.abort.sent_ns and row.witness):
        return {"tokens": [], **{name: [] for name in SIGNS}}
    sent_ns, service, lost_ns = row.abort.sent_ns, row.service or ServiceSide(), row.witness.lost_ns
    moments = {
        "recorded": service.abort_recorded_ns,
        "signal": service.signal_ns,
        "closed": service.upstream_closed_ns if lost_ns else None,
        "lost": lost_ns,
        # A client that disconnects ends its own stream by the abort.
        "end": row.client.end_ns if lost_ns and row.strategy != "disconnect" else None,
    }
    lane = {name: [] if each is None else [(each - sent_ns) / NS_PER_MS] for name, each in moments.items()}
    return {"tokens": [(each - sent_ns) / NS_PER_MS for each in row.witness.token_ns], **lane}


def _draw_panel(axes: Axes, lanes: Mapping[str, Lane], low: float, high: float, brief: Sequence[str]) -> None:
    """`brief` are lanes too quick for this scale: only their ends are marked."""
    row_of = canvas.strategy_rows(axes, lanes, "stop, ms; wasted")
    for strategy, lane in lanes.items():
        row, colour = row_of[strategy], style_of(strategy).colour
        end = lane["lost"][0] if lane["lost"] else high
        axes.plot([low, min(end, high)], [row, row], color=colour, linewidth=1.0, alpha=0.5)
        wasted = [token for token in lane["tokens"] if token > 0]
        for tokens, tint, marker, size in ((lane["tokens"], INK, "o", 3.6), (wasted, WASTED, WASTED_MARK, 6.0)):
            shown = [t for t in tokens if low <= t <= high and (t > 0) == (tint == WASTED)]
            axes.plot(shown, [row] * len(shown), marker, color=tint, markersize=size, markeredgewidth=0, zorder=3)
        for name, (sign, _words) in SIGNS.items():
            if strategy not in brief or name == "lost":
                face = "white" if name == "end" else colour
                axes.plot(
                    lane[name], [row] * len(lane[name]), linestyle="", marker=sign, color=colour, markersize=7,
                    markerfacecolor=face, zorder=4,
                )  # fmt: skip
        canvas.note(axes, row, f"{number(lane['lost'][0]) if lane['lost'] else 'never'};  {len(wasted)}")
    axes.axvline(0, color="black", linewidth=1.2)
    axes.set(xlim=(low, high))
    axes.grid(visible=False, axis="y")


def _legend() -> list[Line2D]:
    signs: Sequence[tuple[Any, str, str]] = [
        ("o", INK, "token written"),
        (WASTED_MARK, WASTED, "written after the abort: wasted"),
        *((marker, INK, words) for marker, words in SIGNS.values()),
    ]
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=words, markersize=6,
               markerfacecolor="white" if marker == "d" else colour)
        for marker, colour, words in signs
    ]  # fmt: skip
