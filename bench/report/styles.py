"""The colour, line and marker of each strategy, in every chart."""

from __future__ import annotations

from typing import Any, NamedTuple

FLOOR_COLOUR = "#8a1c7c"


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
_UNKNOWN = Style("#aa4499", (0, (2.0, 2.0)), "P")


def style_of(strategy: str) -> Style:
    """The look of `strategy`, also of one that is not in the table."""
    return STYLES.get(strategy, _UNKNOWN)
