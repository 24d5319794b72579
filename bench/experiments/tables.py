"""Tables and figures on the terminal, 80 columns wide."""

from collections.abc import Iterable, Mapping, Sequence
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


def spread(values: Mapping[str, float], form: str = ".2f") -> str:
    """`1.30 (1.10..1.50)`, of a `spread_of`."""
    return f"{values['median']:{form}} ({values['min']:{form}}..{values['max']:{form}})"


def minutes_left(seconds: float) -> str:
    """`3:07 left`."""
    minutes, left_s = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{left_s:02d} left"
