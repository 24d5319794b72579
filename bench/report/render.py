"""Renders report.html, report.md and the charts of a results folder, from its files alone; runs nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.analysis.choice import Faulted, ending_of
from bench.analysis.reading import Run, read_run
from bench.analysis.summary import write_summary
from bench.analysis.waterfall import parts_by_case
from bench.record.manifest import Manifest
from bench.record.reader import UnreadableResults
from bench.record.summary import Summary
from bench.report.advice import advise
from bench.report.charts.canvas import Chart
from bench.report.charts.draw import draw_all
from bench.report.first_screen import first_screen
from bench.report.formatting import plural
from bench.report.live import Side, live_data
from bench.report.pages import table, terms, write_pages
from bench.report.tables import cards_of, facts_of, glance_table, method_tables, result_tables

IN_DETAILS = ("stop-tail",)  # for readers who ask for it: last in its section, and folded
FIRST_CHART = "stop-ecdf"  # stands on the first screen, so in no section
FILES = ("report.md", "summary.json", "cases.jsonl", "manifest.json")  # the page links them; a site copies them


def render(folder: Path) -> Path:
    """Write summary.json, charts/*.png and *.svg, report.md and report.html into `folder`; give the HTML's path.

    Raises UnreadableResults (one line: cause and next step) when the folder holds no results or cannot be written.
    Rendering the same raw files again gives the same bytes.
    """
    run = read_run(folder)
    try:
        summary = write_summary(run)
        charts = draw_all(run, summary)
        _remove_others(folder / "charts", charts)
        left_out = [chart for chart in charts if not chart.drawn]
        content = content_of(run, summary) | {
            "first_chart": next((chart for chart in charts if chart.name == FIRST_CHART and chart.drawn), None),
            "sections": sections_of(charts),
            "in_details": IN_DETAILS,
            "live": live_data([Side(run, summary)]),
            "left_out": left_out,
            "files": [name for name in FILES if name == "report.md" or (folder / name).exists()],
        }
        return write_pages(folder, "report", content)
    except OSError as error:
        raise UnreadableResults(
            f"{folder} cannot be written ({error}): copy it to a folder of yours and report that"
        ) from error


def _remove_others(folder: Path, charts: Sequence[Chart]) -> None:
    """Remove pictures that this report does not draw: of an earlier version, or of data that is gone."""
    ours = {chart.name for chart in charts if chart.drawn}
    for picture in folder.glob("*.*"):
        if picture.suffix in (".png", ".svg") and picture.stem not in ours:
            picture.unlink()


def content_of(run: Run, summary: Summary) -> dict[str, Any]:
    """What the templates show of one run, except its charts."""
    cases, manifest = summary.cases, run.manifest
    faulted = {(row.strategy, row.scenario) for row in run.cases if row.fault}
    advice = advise(summary, manifest, faulted)
    return {
        "label": manifest.label or run.folder.name,
        "started": manifest.started_utc or "unknown time",
        "summary": summary,
        "advice": advice,
        "first": first_screen(summary, manifest, advice, faulted),
        "scenarios": {name: each.sentence for name, each in manifest.scenarios.items() if each.sentence},
        "glance": glance_table(cases, manifest),
        "tables": [*result_tables(summary, parts_by_case(run), manifest), *method_tables(summary, manifest)],
        "cards": cards_of(cases, manifest, run.cases),
        "lives": table("lives", lives=terms("conditions", "lives"), text=True),  # of the design, not of this run
        "facts": facts_of(manifest, _ended(summary, manifest, faulted)),
    }


def _ended(summary: Summary, manifest: Manifest, faulted: Faulted) -> str:
    """Why a run that could end early ended when it did; empty for other runs."""
    if not (manifest.settings.get("early") or summary.interval):
        return ""
    return f"{plural(manifest.blocks or 1, 'block')}; {ending_of(summary, manifest, faulted).text}"


def sections_of(charts: Sequence[Chart]) -> list[Mapping[str, Any]]:
    """The drawn charts by the question they answer, without the first chart; a question without a chart is left out."""
    drawn = [chart for chart in charts if chart.drawn and chart.name != FIRST_CHART]
    drawn.sort(key=lambda chart: chart.name in IN_DETAILS)
    found = [
        {**question, "charts": [chart for chart in drawn if chart.name.startswith(question["begins"])]}
        for question in terms("charts", "questions")
    ]
    return [section for section in found if section["charts"]]
