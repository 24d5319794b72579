"""Renders report.html, report.md and the charts of a results folder, from its files alone; runs nothing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.charts import draw_all
from bench.reading import Run, UnreadableResults, read_run
from bench.stats import Summary, write_summary
from bench.tables import GLOSSARY, facts_of, tables_of

__all__ = ["UnreadableResults", "render"]


def render(folder: Path) -> Path:
    """Write summary.json, charts/*.png and *.svg, report.md and report.html into `folder`; give the HTML's path.

    Raises UnreadableResults (one line: cause and next step) when the folder holds no results or cannot be written.
    Rendering the same raw files again gives the same bytes.
    """
    run = read_run(folder)
    try:
        summary = write_summary(run)
        return _render(run, summary)
    except OSError as error:
        raise UnreadableResults(
            f"{folder} cannot be written ({error}): copy it to a folder of yours and report that"
        ) from error


def _render(run: Run, summary: Summary) -> Path:
    page: dict[str, Any] = {
        "label": run.manifest.get("label") or run.folder.name,
        "started": run.manifest.get("started_utc") or "unknown time",
        "summary": summary,
        "charts": draw_all(run, summary),
        "tables": tables_of(summary["cases"], run.manifest),
        "facts": facts_of(run.manifest),
        "glossary": GLOSSARY,
    }
    # Labels and error texts come from outside, so both kinds of page escape them.
    templates = Environment(loader=PackageLoader("bench"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    templates.filters["inline_svg"] = lambda name: _data_uri(run.folder / "charts" / f"{name}.svg")
    templates.filters["cell"] = _markdown_cell
    html = run.folder / "report.html"
    for target in (run.folder / "report.md", html):
        scratch = target.with_name(f".{target.name}.part")
        scratch.write_text(templates.get_template(f"{target.name}.j2").render(page), encoding="utf-8")
        scratch.replace(target)
    return html


def _data_uri(svg: Path) -> str:
    """An image in the page itself: nothing is loaded, and ids of one drawing cannot meet those of another."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def _markdown_cell(text: object) -> Markup:
    """Text that stays text in a Markdown table: no tags, no column breaks, no emphasis, no links."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in ("\\", "|", "*", "_", "`", "[", "]"):
        line = line.replace(mark, f"\\{mark}")
    return Markup(line)  # noqa: S704 - escaped above
