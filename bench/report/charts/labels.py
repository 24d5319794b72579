"""Names written straight onto curves and points, where they cover neither another name nor another curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.report.charts.canvas import settle
from bench.report.styles import ink_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Points = NDArray[np.float64]
Box = tuple[float, float, float, float]
STEP_PX, DOT_PX = 3.0, 5.0
ANCHORS = 24  # places along a curve that a name is tried at
DISTANCES_PX = (4.0, 14.0, 28.0, 48.0)
LONG_NAME = 26  # letters of which two do not fit beside each other
LEADER_PX = 8.0  # a name farther than this from its curve gets a line to it
# What a place costs: each point of another curve that the name hides, or that its leader crosses; each of its own that
# it hides; each point of another curve so near that it might be meant; each pixel from the middle of its curve.
HIDES, CROSSES, HIDES_OWN, NEAR, AWAY = 1.0, 1.0, 0.25, 0.4, 0.004
NEAR_PX = 7.0


class Named(NamedTuple):
    """A curve (or a single point) in data coordinates, shape (n, 2), with the name it should carry.

    `along` is the stretch to put the name at, where not all of the curve will do; `line` and `marker` are what a legend
    shows of it when there is no room for the name.
    """

    name: str
    colour: str
    points: Points
    along: Points | None = None
    line: Any = "-"
    marker: str = ""


def name_curves(drawn: Sequence[tuple[Axes, Sequence[Named]]], avoid: Sequence[Points] = ()) -> None:
    """Write each name beside its curve, and those without room into a legend below the picture, which grows by it."""
    homeless: dict[str, Named] = {}
    for axes, curves in drawn:
        lost = label_curves(axes, curves, avoid)
        homeless |= {curve.name: curve for curve in curves if curve.name in lost}
    drawing = drawn[0][0].get_figure(root=True) if drawn else None
    if not homeless or drawing is None:
        return
    looks = [{"color": each.colour, "linestyle": each.line, "marker": each.marker} for each in homeless.values()]
    handles = [drawn[0][0].plot([], [], scalex=False, scaley=False, **look)[0] for look in looks]
    legend = drawing.legend(
        handles, list(homeless), loc="lower left", bbox_to_anchor=(0, 0), handlelength=3,
        ncol=1 if max(map(len, homeless)) > LONG_NAME else 2, title="no room beside the curve for:", alignment="left",
    )  # fmt: skip
    _grow(drawing, legend.get_window_extent().height + drawing.dpi * 0.1)


def _grow(drawing: Figure, by_px: float) -> None:
    """Make room at the bottom; everything else keeps its size and its distance from the top."""
    old_px = drawing.bbox.height
    new_px = old_px + by_px
    for axes in drawing.axes:
        left, bottom, width, tall = axes.get_position().bounds
        axes.set_position((left, (bottom * old_px + by_px) / new_px, width, tall * old_px / new_px))
    for text in drawing.texts:
        text.set_y((text.get_position()[1] * old_px + by_px) / new_px)
    drawing.set_size_inches(drawing.get_figwidth(), new_px / drawing.dpi)


def label_curves(axes: Axes, curves: Sequence[Named], avoid: Sequence[Points] = ()) -> set[str]:
    """Write each name beside its curve; gives those for which there was no room (`name_curves` lists them).

    Greedy: the shortest curves first, since they have the fewest places. Places are tried along the curve, on all
    sides of it and at some distance; the one that hides the least wins. `avoid` are other lines in data coordinates.
    Everything else of the picture must be there already: the layout is final from here on.
    """
    drawing = axes.get_figure(root=True)
    if drawing is not None:
        settle(drawing)
    obstacles = [_dense(axes.transData.transform(points)) for points in [*(curve.points for curve in curves), *avoid]]
    window = _box_of(axes)
    taken = [_box_of(text) for text in axes.texts]
    homeless = set()
    for index in sorted(range(len(curves)), key=lambda each: len(obstacles[each])):
        curve, own = curves[index], obstacles[index]
        others = np.concatenate([*(each for other, each in enumerate(obstacles) if other != index), np.empty((0, 2))])
        text = axes.text(0, 0, curve.name, color=ink_of(curve.colour), ha="center", va="center", zorder=6)
        text.set_in_layout(False)
        width, height = _size(_box_of(text))
        along = own if curve.along is None else _dense(axes.transData.transform(curve.along))
        best = min(_places(along, others, (width, height), window, taken), default=None)
        if best is None:
            text.remove()
            homeless.add(curve.name)
            continue
        _cost, centre, anchor = best
        taken.append(_box(centre, width, height))
        x, y = axes.transData.inverted().transform(centre).tolist()
        text.set_position((x, y))
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.4})
        start = _nearest(taken[-1], anchor)
        if np.hypot(*np.subtract(start, anchor)) > LEADER_PX:
            ends = axes.transData.inverted().transform([start, anchor])
            axes.plot(ends[:, 0], ends[:, 1], color=curve.colour, linewidth=0.7, scalex=False, scaley=False, zorder=5)
    return homeless


Place = tuple[float, tuple[float, float], tuple[float, float]]


def _places(
    own: Points, others: Points, size: tuple[float, float], window: Box, taken: Sequence[Box]
) -> Iterator[Place]:
    """`(cost, centre of the name, its anchor on the curve)` of free places in the window, each the best yet."""
    middle, cheapest = own[len(own) // 2], np.inf
    for x, y in own[:: max(1, len(own) // ANCHORS)].tolist():
        for centre in _around(x, y, size):
            box = _box(centre, *size)
            inside = window[0] < box[0] and box[2] < window[2] and window[1] < box[1] and box[3] < window[3]
            if not inside or any(_meet(box, each) for each in taken):
                continue
            wide = (box[0] - NEAR_PX, box[1] - NEAR_PX, box[2] + NEAR_PX, box[3] + NEAR_PX)
            close = others[_inside(others, wide)]
            cost = HIDES * np.count_nonzero(_inside(close, box)) + NEAR * len(close)
            cost += HIDES_OWN * np.count_nonzero(_inside(own, box)) + AWAY * np.hypot(*np.subtract(centre, middle))
            start = _nearest(box, (x, y))
            if cost < cheapest and np.hypot(start[0] - x, start[1] - y) > LEADER_PX:
                ways = np.linspace(start, (x, y), 6)[:-1]
                cost += CROSSES * np.count_nonzero(np.abs(others[:, None] - ways).max(axis=2) < STEP_PX)
            if cost < cheapest:  # the leader is what takes long to look at
                cheapest = float(cost)
                yield cheapest, centre, (x, y)


def _around(x: float, y: float, size: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Centres of a box that stands right, left, above, below and at the corners of a point."""
    for distance in DISTANCES_PX:
        aside, above = size[0] / 2 + distance, size[1] / 2 + distance
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            yield x + right * aside, y + up * above


def _box(centre: tuple[float, float], width: float, height: float) -> Box:
    return centre[0] - width / 2, centre[1] - height / 2, centre[0] + width / 2, centre[1] + height / 2


def _box_of(artist: Axes | Text) -> Box:
    extent = artist.get_window_extent()
    return extent.x0, extent.y0, extent.x1, extent.y1


def _size(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]


def _nearest(box: Box, point: tuple[float, float]) -> tuple[float, float]:
    """The box's point that is nearest to another."""
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(points: Points, box: Box) -> NDArray[np.bool_]:
    x, y = points[:, 0], points[:, 1]
    return (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])


def _dense(corners: Points) -> Points:
    """The polyline's points every few pixels, so that long straight pieces count too; of a single point its marker."""
    corners = corners[np.isfinite(corners).all(axis=1)]
    if len(corners) < 2:
        turns = np.linspace(0, 2 * np.pi, 9)
        return corners + DOT_PX * np.column_stack([np.cos(turns), np.sin(turns)])
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    marks = np.arange(0.0, way[-1] + STEP_PX, STEP_PX)
    return np.column_stack([np.interp(marks, way, corners[:, axis]) for axis in (0, 1)])


def corners_of_steps(x: Points, y: Points) -> Points:
    """The polyline of a steps-post curve."""
    return np.column_stack([np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]])


def thin(values: Points, most: int) -> Points:
    """At most so many of the values, evenly chosen, both ends kept."""
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).round().astype(int)]
