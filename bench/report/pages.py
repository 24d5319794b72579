"""The Jinja templates: sentences of plain text, and the pages report.html and report.md."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.analysis import ranking
from bench.record.files import replace_file
from bench.report import cases, formatting
from bench.report.pictures import data_uri
from bench.stats.proportions import proportion_interval

BAR = "¦"  # separates the cells of a table
ITEM = "¶"  # begins each text of a list
_PLAIN = str.maketrans({BAR: "|", ITEM: " ", "\n": " "})
_LOADER = PackageLoader("bench.report")


def _plain(value: object) -> object:
    """Text that begins neither a cell nor a row nor an item."""
    return value.translate(_PLAIN) if isinstance(value, str) else value


FILTERS: Mapping[str, Callable[..., Any]] = {
    "listed": formatting.listed,
    "figure": ranking.value_of,
    "number": formatting.number,
    # A store that was restarted counts from 0 again, which gives negative numbers.
    "connections": lambda value: "-" if value is None or value < 0 else f"{value:g}",
    "rough": lambda value: "-" if value is None else f"{float(f'{value:.2g}'):g}",
    "interval": formatting.interval,
    "stat": formatting.measured,
    "value": formatting.values,
    "ends": lambda case: formatting.interval(ranking.interval_of(case)).strip(" []"),
    "ci": ranking.interval_of,
    "names": ranking.names_of,
    "share": formatting.share,
    "percent": formatting.percent,
    "span": formatting.span,
    "mean": formatting.mean_text,
    "block_mean": formatting.block_mean,
    "bounds": lambda counts: [100 * end for end in proportion_interval(*counts)],
    "missed": lambda own, strategy: formatting.missed_share(*cases.missed_of(own, strategy)),
    "missed_share": lambda counts: formatting.missed_share(*counts),
    "dollars": formatting.dollars,
    "plural": formatting.plural,
    "times": lambda values, factor: [factor * value for value in values],
    "count": lambda value: f"{value:,}",
    "ranked": ranking.ranked,
    "furthest": cases.furthest,
    "first_and_last": lambda values: [*(every := list(values))[:1], *every[1:][-1:]],
}

# Sentences and tables are plain text: the page that shows them escapes it.
_TEXT = Environment(loader=_LOADER, autoescape=False, undefined=StrictUndefined, finalize=_plain)  # noqa: S701
_TEXT.globals["zip"] = zip
_TEXT.tests["overlapping"] = cases.overlap
_TEXT.filters |= FILTERS

# In a table, white space counts.
_TABLES = _TEXT.overlay(trim_blocks=True)


def sentence(name: str, **facts: Any) -> str:
    """The text of the macro `file.macro` in templates/text, with its white space collapsed."""
    file, macro = name.split(".")
    return _collapse(terms(file, macro)(**facts))


def sentences(name: str, **facts: Any) -> list[str]:
    """The texts of a macro that writes a list of them, each after an ITEM."""
    file, macro = name.split(".")
    return [_collapse(text) for text in terms(file, macro)(**facts).split(ITEM)[1:]]


def terms(file: str, name: str) -> Any:
    """A list or dictionary of texts that the template templates/text/`file`.j2 sets."""
    return getattr(_TEXT.get_template(f"text/{file}.j2").module, name)


def pairs(name: str, **facts: Any) -> list[tuple[str, str]]:
    """The names and texts of a macro that writes a list of them, with a BAR between name and text."""
    parts = [text.partition(BAR) for text in sentences(name, **facts)]
    return [(name.strip(), text.strip()) for name, _bar, text in parts]


@dataclass(frozen=True)
class Table:
    """A title, a sentence, heads, and rows of as many cells: text that a page must escape."""

    title: str
    sentence: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    text: bool = False  # cells of words, not of figures
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column) of the cells that are in bold type
    aside: frozenset[int] = frozenset()  # rows of the references, which are not to be chosen
    notes: tuple[str, ...] = ()  # a list between the sentence and the rows

    @property
    def anchor(self) -> str:
        """The anchor that GitHub gives the title: `health-of-the-instrument`."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")


def table(macro: str, *, text: bool = False, **facts: Any) -> Table:
    """The table that a macro of templates/text/tables.j2 writes."""
    text_of = getattr(_TABLES.get_template("text/tables.j2").module, macro)
    lines = text_of(**facts).replace(f"\n{BAR}", f" {BAR}").split("\n")
    title, sentence, *rows = (line.strip() for line in lines)
    heads, *cells = (tuple(cell.strip() for cell in row.split(BAR)) for row in rows if row)
    return Table(title, sentence, heads, cells, text)


def environment(*, escapes: bool = True) -> Environment:
    """The environment of the pages, with FILTERS for figures; `escapes=False` for pages of our own texts only."""
    pages = Environment(loader=_LOADER, autoescape=escapes, undefined=StrictUndefined, trim_blocks=True)  # noqa: S701
    pages.filters |= FILTERS
    return pages


def write_pages(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write report.md and report.html into `folder` from the templates of this name; give the HTML's path."""
    pages = environment()  # labels and errors come from outside: both kinds of page escape them
    pages.filters["inline_svg"] = lambda chart: data_uri((folder / f"{chart}.svg").read_text(encoding="utf-8"))
    pages.filters["cell"] = _markdown_cell
    for kind in ("md", "html"):
        replace_file(folder / f"report.{kind}", pages.get_template(f"{name}.{kind}.j2").render(content).encode())
    return folder / "report.html"


def _collapse(text: str) -> str:
    return re.sub(r" (?=[.,;:)](?:[\s.,;:)]|$))|(?<=\() ", "", " ".join(text.split()))


def _markdown_cell(text: object) -> Markup:
    """Text that stays text in a Markdown table: no tags, column breaks, emphasis or links."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(re.sub(r"([\\|*_`\[\]])", r"\\\1", line))  # noqa: S704 - escaped above
