"""How a strategy looks and where it stands, in every chart and table: the one place that says so."""

from __future__ import annotations

from typing import NamedTuple

FLOOR_COLOUR = "#8a1c7c"
READABLE = 4.6  # a little above 4.5, since the result is rounded


class Style(NamedTuple):
    """A matplotlib colour, line style and marker."""

    colour: str
    line: str | tuple[int, tuple[float, ...]]
    marker: str


_DOTTED, _DASHED, _SOLID = (0, (1.0, 1.2)), (0, (5.0, 1.6)), "-"

# In the order in which they are listed. Hue and marker say the delivery, line style and lightness say the store, so
# each is told apart without colour too. Hues after Okabe and Ito (blue, bluish green, orange), lighter and darker.
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
_STRANGER = Style("#aa4499", (0, (2.0, 2.0)), "P")


def style_of(strategy: str) -> Style:
    """The look of `strategy`; one that is not in the table still gets a visible one."""
    return STYLES.get(strategy, _STRANGER)


def ink_of(colour: str) -> str:
    """The colour, darkened until text in it can be read on white (WCAG 2.2, contrast 4.5 to 1)."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    while 1.05 / (_luminance(red, green, blue) + 0.05) < READABLE:
        red, green, blue = red * 0.95, green * 0.95, blue * 0.95
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def _luminance(*parts: float) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
