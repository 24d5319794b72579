"""Swim lanes: one real chat per strategy, token by token, and what happened when Stop was pressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.moments import NS_PER_MS
from bench.report.captions_stop import lanes_reading
from bench.report.charts.canvas import Chart, figure, height, left_out, margin_head, margin_note, strategy_rows
from bench.report.formatting import number
from bench.report.styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME, TITLE = "stop-lanes", "One chat of each strategy, as it happened"
Row = dict[str, Any]
BEFORE_TOKENS, AFTER_TOKENS, MOST_WINDOW_MS = 3, 2, 400.0
QUICK_MS = 8.0  # lanes that are over within this get a second, closer look
WASTED, WASTED_MARK = "#c1121f", "X"  # another mark, too: red and dark grey look alike to some
SIGNS = {  # what is stamped -> marker, what it means
    "recorded": ("|", "the store has it"),
    "signal": (4, "the owning worker knows"),
    "closed": (5, "the worker has closed"),
    "lost": ("s", "the upstream saw it"),
    "end": ("d", "the client saw the end"),
}


def draw_lanes(folder: Path, rows: Mapping[str, Row], itl_ms: float, where: str) -> Chart:
    """Tokens as the upstream wrote them, around the moment of the abort; `rows` are recorded chats by strategy."""
    lanes = {strategy: stamps(row) for strategy, row in rows.items()}
    if not lanes:
        return left_out(NAME, TITLE, "no abort was counted")
    ends = [lane["lost"][0] for lane in lanes.values() if lane["lost"]]
    right = min(max([*ends, itl_ms]) + AFTER_TOKENS * itl_ms, MOST_WINDOW_MS)
    quick = {name: lane for name, lane in lanes.items() if lane["lost"] and lane["lost"][0] <= QUICK_MS}
    panels = [(lanes, -BEFORE_TOKENS * itl_ms, right)]
    if quick and len(quick) < len(lanes):
        panels.append((quick, -0.5, max(max([*lane["lost"], *lane["end"]]) for lane in quick.values()) * 1.06))
    tall = [len(each) for each, _low, _high in panels]
    height_in, ratios = sum(height(1, rows) for rows in tall) + 1.6, [rows + 1.5 for rows in tall]
    with figure(folder, NAME, height_in, nrows=len(panels), height_ratios=ratios) as (drawing, axes):
        for (shown, low, high), panel_axes in zip(panels, axes, strict=True):
            _draw_panel(panel_axes, shown, low, high, [] if shown is quick or len(panels) == 1 else list(quick))
        drawing.suptitle(f"{where}\neach strategy's chat with the median stop (n = 1 each)", x=0.01, ha="left")
        if len(panels) > 1:
            axes[1].set_title("the quick ones, close up")
        axes[-1].set_xlabel("ms after the abort was sent")
        drawing.legend(*_legend(axes[0]), loc="outside lower left", ncol=2, handlelength=1.2)
    return Chart(NAME, TITLE, lanes_reading(rows))


def stamps(row: Row) -> dict[str, list[float]]:
    """Milliseconds after the abort was sent: `tokens`, and every stamp of the stop in a list that may be empty."""
    sent_ns, service = row["abort"]["sent_ns"], row["service"] or {}
    witness, client = row["witness"], row["client"]
    own_end = client["end_ns"] if row["strategy"] != "disconnect" else None  # there the client's end is the abort
    moments = {
        "recorded": service.get("abort_recorded_ns"),
        "signal": service.get("signal_ns"),
        "closed": service.get("upstream_closed_ns") if witness["lost_ns"] else None,
        "lost": witness["lost_ns"],
        "end": own_end if witness["lost_ns"] else None,
    }
    return {"tokens": [(each - sent_ns) / NS_PER_MS for each in witness["token_ns"]]} | {
        name: [] if each is None else [(each - sent_ns) / NS_PER_MS] for name, each in moments.items()
    }


def _draw_panel(
    axes: Axes, lanes: Mapping[str, dict[str, list[float]]], low: float, high: float, brief: Sequence[str]
) -> None:
    """`brief` are lanes too quick for this scale: only where they end is marked."""
    row_of = strategy_rows(axes, list(lanes))
    margin_head(axes, "stop, ms; wasted")
    for strategy, lane in lanes.items():
        row, colour = row_of[strategy], style_of(strategy).colour
        end = lane["lost"][0] if lane["lost"] else high
        axes.plot([low, min(end, high)], [row, row], color=colour, linewidth=1.0, alpha=0.5)
        for tokens, tint, mark, size in (
            ([t for t in lane["tokens"] if t <= 0], "#333333", "o", 3.6),
            ([t for t in lane["tokens"] if t > 0], WASTED, WASTED_MARK, 6.0),
        ):
            shown = [t for t in tokens if low <= t <= high]
            axes.plot(shown, [row] * len(shown), mark, color=tint, markersize=size, markeredgewidth=0, zorder=3)
        for name, (marker, _words) in SIGNS.items():
            if strategy in brief and name != "lost":
                continue
            look: dict[str, Any] = {"markersize": 7, "markerfacecolor": "white" if name == "end" else colour}
            axes.plot(lane[name], [row] * len(lane[name]), linestyle="", marker=marker, color=colour, zorder=4, **look)
        wasted = sum(token > 0 for token in lane["tokens"])
        margin_note(axes, row, f"{number(lane['lost'][0]) if lane['lost'] else 'never'};  {wasted}")
    axes.axvline(0, color="black", linewidth=1.2)
    axes.set(xlim=(low, high))
    axes.grid(visible=False, axis="y")


def _legend(axes: Axes) -> tuple[list[Any], list[str]]:
    signs: Sequence[tuple[Any, str, str]] = [
        ("o", "#333333", "token written"),
        (WASTED_MARK, WASTED, "written after the abort: wasted"),
        *((marker, "#333333", words) for marker, words in SIGNS.values()),
    ]
    handles = [
        axes.plot([], [], linestyle="", marker=marker, color=colour, markersize=6,
                  markerfacecolor="white" if marker == "d" else colour)[0]
        for marker, colour, _words in signs
    ]  # fmt: skip
    return handles, [words for _marker, _colour, words in signs]
