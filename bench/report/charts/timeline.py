"""Charts of where the time of a stop goes: one recorded chat of each strategy, and the parts of all stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.analysis.moments import NS_PER_MS
from bench.analysis.waterfall import LETTERS, WORDS, Parts
from bench.record.schema import CaseKey, ChatRow, ServiceSide
from bench.report.charts import canvas
from bench.report.charts.canvas import Chart, style_of
from bench.report.charts.data import Panel
from bench.report.formatting import interval, number
from bench.stats.spread import Mean

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
# No strategy's colours: light to dark along the way, with letters on them for readers who see no colour.
COLOURS = ("#f3e3f1", "#dcb0d6", "#bd7ab5", "#93458c", "#5d1b59")
WIDE_ENOUGH, FOR_A_FIGURE = 0.07, 0.2  # of the axis, for a part's letter, and for its milliseconds, too
CLIENT_MOST = 1.4  # mean stops: a later end of the client is written as text, else the parts would be too narrow
BELOW = 0.36  # of a row: where the whiskers are, below the figures


def draw_lanes(out: Path, rows: Mapping[str, ChatRow], itl_ms: float, where: str) -> Chart:
    """Tokens as the upstream wrote them, around the moment of the abort; `rows` are recorded chats by strategy."""
    lanes = {strategy: stamps(row) for strategy, row in rows.items()}
    if not lanes:
        return canvas.left_out("stop-lanes")
    stops = [(lane["lost"][0], len(_wasted(lane)), name) for name, lane in lanes.items() if lane["lost"]]
    right = min(max([itl_ms, *(stop_ms for stop_ms, *_rest in stops)]) + AFTER_TOKENS * itl_ms, MOST_WINDOW_MS)
    quick = {name: lanes[name] for stop_ms, _wasted, name in stops if stop_ms <= QUICK_MS}
    panels = [(lanes, -BEFORE_TOKENS * itl_ms, right)]
    if quick and len(quick) < len(lanes):
        panels.append((quick, -0.5, max(max([*lane["lost"], *lane["end"]]) for lane in quick.values()) * 1.06))
    tall = sum(canvas.height(1, len(shown)) for shown, _low, _high in panels) + 1.6
    grid: dict[str, Any] = {"nrows": len(panels), "height_ratios": [len(shown) + 1.5 for shown, _low, _high in panels]}
    title = f"{where}\neach strategy's chat with the median stop (n = 1 each)"
    with canvas.figure(out, "stop-lanes", tall, title=title, **grid) as every:
        for (shown, low, high), axes in zip(panels, every, strict=True):
            _draw_lanes(axes, shown, low, high, [] if shown is quick or len(panels) == 1 else list(quick))
        if len(panels) > 1:
            every[1].set_title("the quick ones, enlarged")
        every[0].figure.legend(handles=_legend_of_signs(), loc="outside lower left", ncol=2, handlelength=1.2)
    return canvas.chart("stop-lanes", stops=stops)


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


def _wasted(lane: Lane) -> list[float]:
    return [token for token in lane["tokens"] if token > 0]


def _draw_lanes(axes: Axes, lanes: Mapping[str, Lane], low: float, high: float, brief: Sequence[str]) -> None:
    """`brief` are lanes too quick for this scale: only their ends are marked."""
    row_of = canvas.strategy_rows(axes, lanes, "stop, ms; wasted")
    for strategy, lane in lanes.items():
        row, colour = row_of[strategy], style_of(strategy).colour
        end = lane["lost"][0] if lane["lost"] else high
        axes.plot([low, min(end, high)], [row, row], color=colour, linewidth=1.0, alpha=0.5)
        before = [token for token in lane["tokens"] if token <= 0]
        for tokens, tint, marker, size in ((before, INK, "o", 3.6), (_wasted(lane), WASTED, WASTED_MARK, 6.0)):
            shown = [token for token in tokens if low <= token <= high]
            axes.plot(shown, [row] * len(shown), marker, color=tint, markersize=size, markeredgewidth=0, zorder=3)
        for name, (sign, _words) in SIGNS.items():
            if strategy not in brief or name == "lost":
                look: dict[str, Any] = {"marker": sign, "markerfacecolor": "white" if name == "end" else colour}
                axes.plot(
                    lane[name], [row] * len(lane[name]), linestyle="", color=colour, markersize=7, zorder=4, **look
                )
        canvas.note(axes, row, f"{number(lane['lost'][0]) if lane['lost'] else 'never'};  {len(_wasted(lane))}")
    axes.axvline(0, color="black", linewidth=1.2)
    axes.set(xlim=(low, high))
    axes.grid(visible=False, axis="y")


def _legend_of_signs() -> list[Line2D]:
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


def draw_where(out: Path, panels: Sequence[Panel], parts: Mapping[CaseKey, Parts]) -> Chart:
    """Each part's mean as a share of the strategy's own mean stop, with the interval of the way up to its end."""
    known = [(panel, {case.strategy: parts[case.key] for case in panel.cases if case.key in parts}) for panel in panels]
    shown = [(panel, own) for panel, own in known if own]
    if not shown:
        return canvas.left_out("stop-where")
    tall = canvas.height(len(shown), max(len(own) for _panel, own in shown), canvas.TWO_LINES_IN) + 1.7
    with canvas.figure(out, "stop-where", tall, nrows=len(shown)) as every:
        for (panel, own), axes in zip(shown, every, strict=True):
            row_of = canvas.strategy_rows(axes, own, "mean, ms (n)\n[95 %]")
            right = _right(list(own.values()))
            for strategy, each in own.items():
                _draw_row(axes, each, row_of[strategy], right)
            axes.set(xlim=(0, right), title=panel.title)
            axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
            axes.grid(visible=False)
        every[0].figure.legend(handles=_legend_of_parts(), loc="outside lower left", handlelength=1.4)
    panel, own = shown[0]
    return canvas.chart("stop-where", scenario=panel.scenario, parts=own, words=list(WORDS.values()))


def _legend_of_parts() -> list[Line2D | Patch]:
    words = zip(LETTERS, WORDS.values(), COLOURS, strict=False)
    return [
        *(Patch(facecolor=tint, edgecolor="#555555", linewidth=0.5, label=f"{at}  {text}") for at, text, tint in words),
        Line2D([], [], linestyle="", marker="d", color=canvas.DARK, markerfacecolor="white",
               label=f"{LETTERS[-1]}  the client sees the end (→: when, ms)"),
        Line2D([], [], marker="|", color=canvas.DARK, markersize=6, linewidth=1.1,
               label="95 % interval of the mean time up to there"),
    ]  # fmt: skip


def _draw_row(axes: Axes, parts: Parts, row: int, right: float) -> None:
    total, left = parts.whole.mean, 0.0
    shares = [part.mean / total for part in parts.each]
    for place, (letter, colour, part) in enumerate(zip(LETTERS, COLOURS, parts.each, strict=False)):
        share = shares[place]
        axes.barh(row, share, left=left, height=0.76, color=colour, edgecolor="white", linewidth=0.8)
        if share >= WIDE_ENOUGH * right:
            text = f"{letter} {number(part.mean)}" if share >= FOR_A_FIGURE * right else letter
            ink = "white" if letter in "de" else "black"
            axes.text(left + share / 2, row, text, ha="center", va="center", color=ink)
        if place == len(shares) - 1 or shares[place + 1] >= WIDE_ENOUGH * right:  # else two would overlap
            _whisker(axes, parts.upto[place], total, row + BELOW)
        left += share
    if parts.client_end:
        after = parts.client_end.mean / total
        if after > CLIENT_MOST:
            late = f"{LETTERS[-1]} {number(parts.client_end.mean)} →"
            axes.text(right - 0.01, row, late, ha="right", va="center", color=canvas.DARK)
        else:
            axes.plot(after, row, "d", color=canvas.DARK, markerfacecolor="white", markersize=6, zorder=4)
            if abs(after - 1) >= WIDE_ENOUGH * right:
                _whisker(axes, parts.client_end, total, row + BELOW - 0.16)
    canvas.note(axes, row, f"{number(total)}  ({parts.n})\n{interval(parts.whole[1:]).strip()}")


def _whisker(axes: Axes, mean: Mean, total: float, y: float) -> None:
    ends = [mean.low / total, mean.high / total]
    axes.plot(ends, [y, y], "|-", color=canvas.DARK, markersize=4, linewidth=1.1, zorder=3)


def _right(parts: Sequence[Parts]) -> float:
    """The end of the axis: beyond the last interval, of the stops and of the clients' ends, up to a limit."""
    ends = [own.whole.high / own.whole.mean for own in parts]
    ends += [min(CLIENT_MOST, own.client_end.high / own.whole.mean) for own in parts if own.client_end]
    return max(1.0, *ends) + 0.04
