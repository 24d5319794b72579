"""Charts of where the time of a stop goes: one recorded chat of each strategy, and the parts of all stops."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.analysis.metrics import NS_PER_MS
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
SIGNS = {  # stamp -> marker, what it means, how far below the lane: on one line the later would hide the earlier
    "recorded": ("|", "recorded in the store", 0.0),
    "signal": (4, "signalled to the worker", -0.26),
    "closed": (5, "closed by the worker", -0.26),
    "lost": ("s", "lost at the upstream", 0.0),
    "end": ("d", "client's stream ended", 0.26),
}
Lane = dict[str, list[float]]
# No strategy's colours, and letters on them for readers who see no colour.
COLOURS = ("#77aadd", "#eedd88", "#ee8866", "#44bb99", "#cc99cc")
WIDE_ENOUGH, FOR_A_FIGURE = 0.07, 0.2  # of the axis, for a part's letter, and for its milliseconds, too
CLIENT_MOST = 1.4  # of the longest mean stop: a later end of the client is text, else the parts would be too narrow
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
        for name, (sign, _words, below) in SIGNS.items():
            if strategy not in brief or name == "lost":
                look: dict[str, Any] = {"marker": sign, "markerfacecolor": "white" if name == "end" else colour}
                y = [row + below] * len(lane[name])
                axes.plot(lane[name], y, linestyle="", color=colour, markersize=6, zorder=4, **look)
        canvas.note(axes, row, f"{number(lane['lost'][0]) if lane['lost'] else 'never'};  {len(_wasted(lane))}")
    axes.axvline(0, color="black", linewidth=1.2)
    axes.set(xlim=(low, high))
    axes.grid(visible=False, axis="y")


def _legend_of_signs() -> list[Line2D]:
    signs: Sequence[tuple[Any, str, str]] = [
        ("o", INK, "token written"),
        (WASTED_MARK, WASTED, "written after the abort: wasted"),
        *((marker, INK, words) for marker, words, _below in SIGNS.values()),
    ]
    return [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=words, markersize=6,
               markerfacecolor="white" if marker == "d" else colour)
        for marker, colour, words in signs
    ]  # fmt: skip


def draw_where(out: Path, panels: Sequence[Panel], parts: Mapping[CaseKey, Parts]) -> Chart:
    """Each part's mean in ms after the part before it, with the interval of the way up to its end."""
    known = [(panel, {case.strategy: parts[case.key] for case in panel.cases if case.key in parts}) for panel in panels]
    shown = [(panel, group) for panel, own in known for group in _by_speed(own)]
    if not shown:
        return canvas.left_out("stop-where")
    rows = [len(group) for _panel, group in shown]
    tall = sum(canvas.height(1, count, canvas.TWO_LINES_IN) for count in rows) + 1.7
    grid: dict[str, Any] = {"nrows": len(shown), "height_ratios": [count + 1.5 for count in rows]}
    with canvas.figure(out, "stop-where", tall, **grid) as every:
        for (panel, group), axes in zip(shown, every, strict=True):
            row_of = canvas.strategy_rows(axes, group, "mean, ms (n)\n[95 %]")
            right = _right(list(group.values()))
            for strategy, each in group.items():
                _draw_row(axes, each, row_of[strategy], right)
            axes.set(xlim=(0, right), title=panel.title)
            axes.grid(visible=False)
        every[0].figure.legend(handles=_legend_of_parts(), loc="outside lower left", handlelength=1.4)
    panel, own = next((panel, own) for panel, own in known if own)
    return canvas.chart("stop-where", scenario=panel.scenario, parts=own, words=list(WORDS.values()))


def _by_speed(own: Mapping[str, Parts]) -> list[dict[str, Parts]]:
    """The strategies with a mean stop within QUICK_MS, and the others, whose axis would hide the quick ones."""
    quick = {name: each for name, each in own.items() if each.whole.mean <= QUICK_MS}
    return [group for group in (quick, {name: own[name] for name in own if name not in quick}) if group]


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
    left_ms = 0.0
    wide = [part.mean >= WIDE_ENOUGH * right for part in parts.each]
    for place, (letter, colour, part) in enumerate(zip(LETTERS, COLOURS, parts.each, strict=False)):
        axes.barh(row, part.mean, left=left_ms, height=0.76, color=colour, edgecolor="white", linewidth=0.8)
        if wide[place]:
            text = f"{letter} {number(part.mean)}" if part.mean >= FOR_A_FIGURE * right else letter
            axes.text(left_ms + part.mean / 2, row, text, ha="center", va="center", color="black")
        if place == len(wide) - 1 or wide[place + 1]:  # else two would overlap
            _whisker(axes, parts.upto[place], row + BELOW)
        left_ms += part.mean
    if end := parts.client_end:
        if end.mean > right:
            late = f"{LETTERS[-1]} {number(end.mean)} →"
            axes.text(right * 0.99, row, late, ha="right", va="center", color=canvas.DARK)
        else:
            axes.plot(end.mean, row, "d", color=canvas.DARK, markerfacecolor="white", markersize=6, zorder=4)
            if abs(end.mean - parts.whole.mean) >= WIDE_ENOUGH * right:
                _whisker(axes, end, row + BELOW - 0.16)
    canvas.note(axes, row, f"{number(parts.whole.mean)}  ({parts.n})\n{interval(parts.whole[1:]).strip()}")


def _whisker(axes: Axes, mean: Mean, y: float) -> None:
    axes.plot([mean.low, mean.high], [y, y], "|-", color=canvas.DARK, markersize=4, linewidth=1.1, zorder=3)


def _right(parts: Sequence[Parts]) -> float:
    """The end of the axis, ms: beyond the last interval of the stops, and of the clients' ends up to a limit."""
    most = CLIENT_MOST * max(own.whole.mean for own in parts)
    ends = [own.whole.high for own in parts]
    ends += [min(most, own.client_end.high) for own in parts if own.client_end]
    return 1.04 * max(ends)
