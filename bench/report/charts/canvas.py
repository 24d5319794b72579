"""What all charts share: looks, words, helpers for axes, and saving the same bytes every time."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

# A report looks the same everywhere: the user's backend and matplotlibrc could need a display or LaTeX.
os.environ["MPLBACKEND"] = "agg"
os.environ.pop("MATPLOTLIBRC", None)
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.record.summary import Metric
from bench.report.formatting import number
from bench.report.pages import sentence, terms
from bench.workload.strategies import strategy_rank

WIDTH_IN = 4.6  # a phone of 375 px shows it at some 3.7 in: 9 pt type is still 7 pt there
LEAST_PT = 9.0  # of any text in a picture
DPI = 170
SVG_DPI = 90  # of the parts of an SVG that are pixels: bands and crowds of dots
ROW_IN, TWO_LINES_IN, LEGEND_ROW_IN = 0.3, 0.37, 0.19
GREY, DARK, FLOOR_COLOUR = "#666666", "#222222", "#8a1c7c"
LOOK = mpl.rc_params_from_file(Path(__file__).with_name("report.mplstyle"))


class Style(NamedTuple):
    """A matplotlib colour, line style and marker."""

    colour: str
    line: str | tuple[int, tuple[float, ...]]
    marker: str

    @property
    def curve(self) -> dict[str, Any]:
        """The look of a curve with markers, as keywords of matplotlib."""
        return {"color": self.colour, "linestyle": self.line, "marker": self.marker, "markersize": 4}


_DOTTED, _DASHED, _SOLID = (0, (1.0, 1.2)), (0, (5.0, 1.6)), "-"
# Hue and marker stand for the delivery, line style and lightness for the store, so that strategies differ without
# colour, too. Hues after Okabe and Ito (blue, bluish green, orange), lighter and darker.
STYLES: dict[str, Style] = {
    "disconnect": Style("#000000", (0, (6.0, 1.5, 1.0, 1.5)), "D"),
    "memory-push": Style("#56b4e9", _DOTTED, "o"),
    "postgres-push": Style("#0072b2", _DASHED, "o"),
    "redis-push": Style("#08306b", _SOLID, "o"),
    "postgres-timer": Style("#009e73", _DASHED, "s"),
    "redis-timer": Style("#00543d", _SOLID, "s"),
    "memory-poll": Style("#f0a830", _DOTTED, "^"),
    "postgres-poll": Style("#d55e00", _DASHED, "^"),
    "redis-poll": Style("#8c2d04", _SOLID, "^"),
    "none": Style("#7a7a7a", (0, (3.0, 1.5, 1.0, 1.5, 1.0, 1.5)), "X"),
}


def style_of(strategy: str) -> Style:
    """The look of `strategy`, also of one that is not in the table."""
    return STYLES.get(strategy, Style("#aa4499", (0, (2.0, 2.0)), "P"))


@dataclass(frozen=True)
class Chart:
    """One chart: `name` is the file stem under charts/, `reading` the text.

    `drawn` is false when data is missing, or when the data would give an empty picture (`empty`).
    """

    name: str
    reading: str
    drawn: bool = True
    empty: bool = False

    @property
    def title(self) -> str:
        """The second picture of `name` is `name-2`."""
        base, count = _picture(self.name)
        return f"{words_of(base)['title']} ({count})" if count else str(words_of(base)["title"])


def words_of(name: str) -> Mapping[str, Any]:
    """Title, x label, reason to leave it out, and scenarios of a chart; empty for a picture outside the report."""
    words: Mapping[str, Any] = terms("charts", "words").get(_picture(name)[0], {})
    return words


def chart(name: str, **facts: Any) -> Chart:
    """A drawn chart, with the caption that templates/text/captions.j2 makes of these facts."""
    return Chart(name, sentence(f"captions.{_picture(name)[0].replace('-', '_')}", **facts))


def left_out(name: str, why: str = "") -> Chart:
    """A chart without data; `why` follows "Not drawn: "."""
    return Chart(name, f"Not drawn: {why or words_of(name)['lacking']}.", drawn=False)


def nothing_to_show(name: str, **facts: Any) -> Chart:
    """A chart whose data would give an empty picture: its caption is enough."""
    made = chart(name, **facts)
    return replace(made, reading=f"Not drawn: {made.reading[0].lower()}{made.reading[1:]}", drawn=False, empty=True)


def _picture(name: str) -> Sequence[str]:
    """`("stop-by-scenario", "2")` of `stop-by-scenario-2`."""
    found = re.fullmatch(r"(.+?)(?:-(\d+))?", name)
    return found.groups("") if found else (name, "")


@contextmanager
def figure(
    out: Path, name: str, height_in: float, *, legend: Iterable[str] = (), others: Sequence[Line2D] = (),
    line: bool = True, title: str = "", title_pt: float = LEAST_PT, x: Mapping[str, Any] | None = None,
    width_in: float = WIDTH_IN, **grid: Any,
) -> Iterator[list[Axes]]:  # fmt: skip
    """Give a figure's axes in one list; on leaving it is saved as charts/<name>.png and .svg.

    The lowest axes get the chart's x label, formatted with the facts `x`. A legend of strategies (with `line` or marker
    only) and of `others` is added below the axes, and its height to the figure's.
    """
    charts, ordered = out / "charts", sorted(set(legend), key=strategy_rank)
    charts.mkdir(exist_ok=True)
    with mpl.rc_context(LOOK):
        rows = (len(ordered) + 2 * len(others) + 1) // 2  # in two columns; the labels of others are long
        height_in += rows * LEGEND_ROW_IN + 0.15 if rows else 0.0
        drawing = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = list(drawing.subplots(squeeze=False, **grid).flat)
        yield axes
        if label := words_of(name).get("x"):
            axes[-1].set_xlabel(label.format(**x or {}))
        if title:
            drawing.suptitle(title, x=0.01, ha="left", fontsize=title_pt)
        if rows:
            look = {} if line else {"linestyle": ""}
            handles = [Line2D([], [], label=each, **style_of(each).curve | look) for each in ordered]
            drawing.legend(handles=[*handles, *others], loc="outside lower left", ncol=2, handlelength=3)
        save(drawing, charts / name)


def save(drawing: Figure, stem: Path) -> None:
    """Write `stem`.png and `stem`.svg. `Figure.savefig` would find the layout and draw twice for each of them."""
    if engine := drawing.get_layout_engine():
        engine.execute(drawing)
        drawing.set_layout_engine("none")
    drawing.dpi = DPI
    FigureCanvasAgg(drawing).print_png(stem.with_suffix(".png"))  # type: ignore[no-untyped-call]
    drawing.dpi = SVG_DPI
    no_dates = {"Date": None, "Creator": None}
    FigureCanvasSVG(drawing).print_svg(stem.with_suffix(".svg"), metadata=no_dates)  # type: ignore[no-untyped-call]


def height(panels: int, rows: int, row_in: float = ROW_IN) -> float:
    """Figure height in inches for stacked panels of this many rows; notes of two lines need rows of TWO_LINES_IN."""
    return panels * (rows * row_in + 0.75) + 0.5


def plain_ticks(axes: Axes, which: str = "x", *, log: bool = True) -> None:
    """Ticks that are plain numbers, on logarithmic axes by default; `which`: x, y or xy."""
    for each in which:
        axis = axes.xaxis if each == "x" else axes.yaxis
        if log:
            (axes.set_xscale if each == "x" else axes.set_yscale)("log")
            axis.set_minor_formatter(NullFormatter())
            axis.set_tick_params(which="minor", label1On=False)  # an empty label takes part in the layout
        axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.6g}"))


def floor_line(axes: Axes, floor: Metric | None, which: str = "x") -> None:
    """The floor, which is the median without a service, as a line: smaller differences are not claimed."""
    is_x = which == "x"
    low, high = axes.get_xlim() if is_x else axes.get_ylim()
    if not floor or not floor.p50 or not low < floor.p50 < high:
        return
    look: dict[str, Any] = {"linewidth": 1.1, "linestyle": (0, (2, 1.5)), "zorder": 1.5}
    (axes.axvline if is_x else axes.axhline)(floor.p50, color=FLOOR_COLOUR, **look)
    at, shift = ((floor.p50, 1.0), (-2, -3)) if is_x else ((1.0, floor.p50), (-2, 2))
    text: dict[str, Any] = {
        "textcoords": "offset points",
        "ha": "right",
        **({"rotation": 90, "va": "top"} if is_x else {}),
    }
    transform = axes.get_xaxis_transform() if is_x else axes.get_yaxis_transform()
    axes.annotate(f"no service: {number(floor.p50)} ms", at, shift, xycoords=transform, color=FLOOR_COLOUR, **text)


def strategy_rows(axes: Axes, strategies: Iterable[str], head: str = "") -> dict[str, int]:
    """One row per strategy, first on top, with the head of the notes in the right margin; gives each row's y."""
    ordered = sorted(set(strategies), key=strategy_rank)
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    look: dict[str, Any] = {"fontweight": "bold", "color": DARK, "va": "bottom"}
    axes.annotate(head, (1.015, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", **look)
    return {strategy: row for row, strategy in enumerate(ordered)}


def note(axes: Axes, row: float, text: str, color: str = DARK) -> None:
    """Text in the right margin, level with a row."""
    axes.text(1.015, row, text, transform=axes.get_yaxis_transform(), va="center", color=color, linespacing=0.95)


def mark(axes: Axes, x: float, row: float, strategy: str, ends: Sequence[float] | None = None, **look: Any) -> None:
    """A strategy's marker, over the thick bar of its 95 % interval."""
    style = style_of(strategy)
    if ends:
        axes.plot(ends, [row, row], color=style.colour, linewidth=4.5, alpha=0.45, solid_capstyle="butt")
    axes.plot(x, row, style.marker, color=style.colour, **{"markersize": 6, **look})


def log_limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits with some room around positive values, wide enough for two labelled ticks."""
    positive = [value for value in values if value > 0] or [1.0]
    low = min(positive) * 0.7
    return low, max(max(positive) * 1.4, low * 30)
