"""The Jinja templates: sentences of plain text, and the pages report.html and report.md."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.record.files import replace_file
from bench.report import formatting
from bench.report.cases import interval_of, missed_of

BAR = "¦"  # separates the cells of a table
_LOADER = PackageLoader("bench.report")
# Sentences and tables are plain text: the page that shows them escapes it.
_TEXT = Environment(loader=_LOADER, autoescape=False, undefined=StrictUndefined)  # noqa: S701
_TEXT.filters |= {
    "listed": formatting.listed,
    "number": formatting.number,
    "interval": formatting.interval,
    "stat": formatting.measured,
    "value": formatting.values,
    "ends": lambda case: formatting.interval(interval_of(case)).strip(" []"),
    "share": formatting.share,
    "percent": formatting.percent,
    "mean": formatting.mean_text,
    "block_mean": formatting.block_mean,
    "missed": lambda cases, strategy: formatting.missed_share(*missed_of(cases, strategy)),
    "missed_share": lambda counts: formatting.missed_share(*counts),
    "plural": formatting.plural,
    "times": lambda values, factor: [factor * value for value in values],
    "count": lambda value: f"{value:,}",
}

# In a table, white space counts.
_TABLES = _TEXT.overlay(trim_blocks=True, finalize=lambda value: _cell(value) if isinstance(value, str) else value)


def sentence(name: str, **facts: Any) -> str:
    """The text of the macro `file.macro` in templates/text, with its white space collapsed."""
    file, macro = name.split(".")
    text = terms(file, macro)(**facts)
    return re.sub(r" (?=[.,;:)](?:[\s.,;:)]|$))|(?<=\() ", "", " ".join(text.split()))


def terms(file: str, name: str) -> Any:
    """A list or dictionary of texts that the template templates/text/`file`.j2 sets."""
    return getattr(_TEXT.get_template(f"text/{file}.j2").module, name)


@dataclass(frozen=True)
class Table:
    """A title, a sentence, heads, and rows of as many cells: text that a page must escape."""

    title: str
    sentence: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    text: bool = False  # cells of words, not of figures


def table(macro: str, *, text: bool = False, **facts: Any) -> Table:
    """The table that a macro of templates/text/tables.j2 writes."""
    lines = (
        getattr(_TABLES.get_template("text/tables.j2").module, macro)(**facts)
        .replace(f"\n{BAR}", f" {BAR}")
        .split("\n")
    )
    title, sentence, *rows = (line.strip() for line in lines)
    heads, *cells = (tuple(cell.strip() for cell in row.split(BAR)) for row in rows if row)
    return Table(title, sentence, heads, cells, text)


def write_pages(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write report.md and report.html into `folder` from the templates of this name; give the HTML's path."""
    # Labels and errors come from outside: both kinds of page escape them.
    pages = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    pages.filters["inline_svg"] = lambda chart: _data_uri(folder / f"{chart}.svg")
    pages.filters["cell"] = _markdown_cell
    for kind in ("md", "html"):
        replace_file(folder / f"report.{kind}", pages.get_template(f"{name}.{kind}.j2").render(content).encode())
    return folder / "report.html"


def _cell(text: str) -> str:
    """Text that neither begins a cell nor a row."""
    return " ".join(text.replace(BAR, "|").split("\n"))


def _data_uri(svg: Path) -> str:
    """The image inside the page: nothing is loaded, and the ids of two drawings cannot clash."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def _markdown_cell(text: object) -> Markup:
    """Text that stays text in a Markdown table: no tags, column breaks, emphasis or links."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(re.sub(r"([\\|*_`\[\]])", r"\\\1", line))  # noqa: S704 - escaped above
