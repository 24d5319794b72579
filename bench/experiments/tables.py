"""Tables and figures on the terminal, 80 columns wide; the experiments' own are in templates/tables.j2."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

Row = dict[str, Any]
"""An entry of an experiment's own JSON, such as a point of knee.json."""
BAR = "¦"  # separates the cells of a table


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


def written(macro: str, *, wrap: bool = False, **facts: Any) -> Table:
    """The table that a macro of templates/tables.j2 writes."""
    title, caption, heads, *rows = (line.replace("\\n", "\n") for line in lines(macro, **facts))
    cells = ([cell.strip(" ") for cell in row.split(BAR)] for row in (heads, *rows) if row)
    return table(title, next(cells), cells, caption, wrap=wrap)


def lines(macro: str, **facts: Any) -> list[str]:
    """The lines that a macro of templates/tables.j2 writes."""
    text: str = getattr(_templates(), macro)(**facts)
    return text.removesuffix("\n").replace(f"\n{BAR}", f" {BAR}").split("\n")


def figure(value: float | None, form: str = ".2f", unit: str = "") -> str:
    """The number in this format; a dash for None."""
    return "-" if value is None else f"{value:{form}}{unit}"


def compact(value: float | None, digits: int = 3) -> str:
    """Significant digits, three by default, thousands as k, M, G (`12.3k`, `40.1M`); a dash for None."""
    if value is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{float(f'{value / size:.{digits}g}'):g}{unit}"
    return f"{float(f'{value:.{digits}g}'):g}"


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


@functools.cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - `--help` needs none of this

    loader = PackageLoader("bench.experiments")
    found = Environment(loader=loader, autoescape=False, undefined=StrictUndefined, trim_blocks=True)  # noqa: S701 - text
    found.filters |= {"compact": compact, "figure": figure, "interval": interval, "spread": spread}
    return found.get_template("tables.j2").module
