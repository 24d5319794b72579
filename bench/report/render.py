"""Renders report.html, report.md and the charts of a results folder, from its files alone; runs nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.analysis.parts import parts_by_case
from bench.analysis.reading import Run, UnreadableResults, read_run
from bench.analysis.summary import Summary, write_summary
from bench.report.advice import advise
from bench.report.charts.draw import Chart, draw_all
from bench.report.fairness import DISAGREE, cards_of, lives_table
from bench.report.tables import GLOSSARY, facts_of, tables_of
from bench.report.tables_instrument import instrument_tables, parts_table
from bench.report.tables_top import comparison_table, control_table, headline

__all__ = ["Section", "UnreadableResults", "environment", "render", "sections_of", "write_pages"]


class Section(NamedTuple):
    """Charts that answer one question; `anchor` is its id in the page."""

    anchor: str
    title: str
    charts: list[Chart]


QUESTIONS = (
    ("speed", "How fast does a Stop stop?", ("stop-",)),
    ("cost", "What does it cost?", ("wasted-tokens", "waste-price", "cost")),
    ("failure", "When does it fail?", ("missed-by-workers", "outage", "knee")),
)
"""Anchor, title, and how the names of the charts begin."""


def render(folder: Path) -> Path:
    """Write summary.json, charts/*.png and *.svg, report.md and report.html into `folder`; give the HTML's path.

    Raises UnreadableResults (one line: cause and next step) when the folder holds no results or cannot be written.
    Rendering the same raw files again gives the same bytes.
    """
    run = read_run(folder)
    try:
        summary = write_summary(run)
        charts = draw_all(run, summary)
        _forget_others(folder / "charts", charts)
        left_out = [chart for chart in charts if not chart.drawn]
        content = content_of(run, summary) | {"sections": sections_of(charts), "left_out": left_out}
        return write_pages(folder, "report", content)
    except OSError as error:
        raise UnreadableResults(
            f"{folder} cannot be written ({error}): copy it to a folder of yours and report that"
        ) from error


def _forget_others(folder: Path, charts: Sequence[Chart]) -> None:
    """Remove pictures that this report does not draw: of an earlier version, or of data that is gone."""
    ours = {chart.name for chart in charts if chart.drawn}
    for picture in folder.glob("*.*"):
        if picture.suffix in (".png", ".svg") and picture.stem not in ours:
            picture.unlink()


def content_of(run: Run, summary: Summary) -> dict[str, Any]:
    """What the templates show of one run, but for its charts."""
    cases = summary["cases"]
    faulted = {(row["strategy"], row["scenario"]) for row in run.cases if row.get("fault")}
    tables = [headline(cases, run.manifest), comparison_table(summary), control_table(summary)]
    tables.append(parts_table(cases, parts_by_case(run)))
    return {
        "label": run.manifest.get("label") or run.folder.name,
        "started": run.manifest.get("started_utc") or "unknown time",
        "summary": summary,
        "advice": advise(summary, run.manifest, faulted),
        "warnings": summary.get("warnings") or [],
        "glance": tables[0],
        "tables": [
            *(table for table in tables[1:] if table),
            *tables_of(cases, run.manifest),
            *instrument_tables(summary, run.manifest),
        ],
        "cards": cards_of(cases, run.manifest, run.cases),
        "lives": lives_table(),
        "disagree": DISAGREE,
        "facts": facts_of(run.manifest),
        "glossary": GLOSSARY,
    }


def sections_of(charts: Sequence[Chart]) -> list[Section]:
    """The drawn charts by the question they answer; a question without a chart is left out."""
    found = [
        Section(anchor, title, [chart for chart in charts if chart.drawn and chart.name.startswith(begin)])
        for anchor, title, begin in QUESTIONS
    ]
    return [section for section in found if section.charts]


def write_pages(folder: Path, name: str, content: dict[str, Any]) -> Path:
    """Write `folder`/report.md and report.html from the templates of this name; give the HTML's path."""
    templates = environment(folder)
    for kind in ("md", "html"):
        target = folder / f"report.{kind}"
        scratch = target.with_name(f".{target.name}.part")
        scratch.write_text(templates.get_template(f"{name}.{kind}.j2").render(content), encoding="utf-8")
        scratch.replace(target)
    return folder / "report.html"


def environment(folder: Path) -> Environment:
    """The templates, for pages in `folder`. Labels and errors come from outside, so both kinds of page escape them."""
    templates = Environment(
        loader=PackageLoader("bench.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters["inline_svg"] = lambda name: _data_uri(folder / f"{name}.svg")
    templates.filters["cell"] = _markdown_cell
    return templates


def _data_uri(svg: Path) -> str:
    """An image in the page itself: nothing is loaded, and ids of one drawing cannot meet those of another."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def _markdown_cell(text: object) -> Markup:
    """Text that stays text in a Markdown table: no tags, no column breaks, no emphasis, no links."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in ("\\", "|", "*", "_", "`", "[", "]"):
        line = line.replace(mark, f"\\{mark}")
    return Markup(line)  # noqa: S704 - escaped above
