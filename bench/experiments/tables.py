"""Tables and figures on the terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from rich.table import Table

Row = dict[str, Any]
"""An entry of an experiment's own JSON, such as a point of knee.json."""


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]] = (), caption: str = "", *, wrap: bool = False
) -> Table:
    """A table without lines; columns named `<...` are aligned to the left and, except the first, may `wrap`."""
    found = Table(title=title, box=None, padding=(0, 1, 0, 0), header_style="bold", title_justify="left")
    found.caption, found.caption_justify = caption or None, "left"
    for place, name in enumerate(columns):
        left = name.startswith("<")
        rigid = not (left and wrap and place)
        found.add_column(name.removeprefix("<"), justify="left" if left else "right", no_wrap=rigid)
    for row in rows:
        found.add_row(*row)
    return found


def figure(value: float | None, form: str = ".2f") -> str:
    """The number in this format; a dash for None."""
    return "-" if value is None else f"{value:{form}}"


def interval(ci: Sequence[float] | None, form: str = ".2f", around: str = "{} to {}", empty: str = "-") -> str:
    """Both ends of an interval in this format, or `empty` where there is none."""
    return around.format(*(f"{end:{form}}" for end in ci)) if ci else empty


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """`1.30 (1.10..1.50)`: the median of some values, and the lowest and highest of them."""
    return f"{median(values):{form}} ({min(values):{form}}..{max(values):{form}})"


def minutes_left(seconds: float) -> str:
    """`3:07 left`."""
    left_s = max(0, int(seconds))
    return f"{left_s // 60}:{left_s % 60:02d} left"
