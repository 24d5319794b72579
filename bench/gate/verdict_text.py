"""The outcome as text: sentences, markdown, JUnit, GitHub annotations, github-action-benchmark's JSON, the terminal."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.analysis.reading import case_name
from bench.gate.family import Finding
from bench.gate.outcome import Outcome

MAX_ANNOTATIONS = 10
"""GitHub shows no more errors of one step; all of them are in the summary."""
SYMBOLS = {"worse": "❌", "better": "✅", "equivalent": "✅", "inconclusive": "❔", "invalid": "⚠️"}
COLOURS = {"worse": "red", "better": "green", "equivalent": "green", "inconclusive": "yellow", "invalid": "red"}


def number(value: float | None, digits: int = 3) -> str:
    """A value with this many significant digits and no exponent."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def text(macro: str, *facts: object) -> str:
    """What a macro of finding.j2 writes, on one line."""
    return " ".join(getattr(_TEMPLATES.get_template("finding.j2").module, macro)(*facts).split())


def sentence(finding: Finding, outcome: Outcome) -> str:
    """One finding with all its figures."""
    return text("sentence", case_name(finding.case), finding.metric, finding.decision, outcome.unit(finding.metric))


def markdown(outcome: Outcome) -> str:
    """The step summary: the verdict, its reasons, a table of what is not equivalent; the rest folded."""
    return _TEMPLATES.get_template("verdict.md.j2").render(outcome=outcome).rstrip("\n") + "\n"


def junit(outcome: Outcome) -> str:
    """A JUnit `testsuite`: a failure per worse metric and broken rule, skipped if inconclusive, an error if invalid."""
    return _TEMPLATES.get_template("verdict.xml.j2").render(outcome=outcome) + "\n"


def github_annotations(outcome: Outcome) -> list[str]:
    """Workflow commands for the log: an error per broken rule and worse metric, else a warning with the reason.

    A measurement that shows nothing is a warning: the settings of the action decide whether it fails the job.
    """
    lines = _TEMPLATES.get_template("annotations.j2").render(outcome=outcome).split("\n")
    return [line for line in lines if line][:MAX_ANNOTATIONS]


def smaller_is_better(outcome: Outcome) -> list[dict[str, Any]]:
    """github-action-benchmark's `customSmallerIsBetter`: head's medians, without rates, of which more is better."""
    return [
        {
            "name": f"{finding.metric}: {case_name(finding.case)}",
            "unit": outcome.unit(finding.metric),
            "value": round(finding.decision.head, 6),
            "range": " to ".join(number(end) for end in finding.decision.head_span or ()),
            "extra": sentence(finding, outcome),
        }
        for finding in outcome.findings
        if finding.decision.head is not None and not finding.decision.margin.higher_is_better
    ]


def show(outcome: Outcome, console: Console) -> None:
    """Print what is not equivalent (two lines each: 80 columns are enough), rules, notes and, last, the verdict."""
    found = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    found.add_column("verdict", no_wrap=True)
    found.add_column("metric\ncase")
    for name in ("base -> head\nmargin", "change\n90 % interval"):
        found.add_column(name, justify="right", no_wrap=True)
    for verdict in ("worse", "better", "inconclusive"):
        for case, metric, decision in outcome.having(verdict):
            unit = outcome.unit(metric)
            found.add_row(
                Text(verdict, style=COLOURS[verdict]),
                f"{metric}\n{case_name(case)}",
                f"{number(decision.base)} -> {number(decision.head)} {unit}\n{text('margin', decision, unit)}",
                f"{text('change', decision)}\n{text('interval', decision)}",
            )
    if equivalent := outcome.having("equivalent"):
        found.add_row(Text("equivalent", style="green"), f"{len(equivalent)} more", "", "")
    console.print(found)
    lines = [(each, "red") for each in outcome.reasons]
    for line, style in [*lines, *((each, "dim") for each in (outcome.margin_source, *outcome.notes))]:
        console.print(Text(line, style=style), soft_wrap=True)
    verdict_shown = Text(outcome.verdict, style=f"bold {COLOURS[outcome.verdict]}")
    console.print(Text.assemble("verdict: ", verdict_shown, f": {outcome.sentence}"), soft_wrap=True)


def _cell(value: str) -> str:
    """Text that cannot end a table cell or become HTML."""
    return escape(" ".join(value.split()), quote=False).replace("|", "\\|")


def _escaped(line: str) -> str:
    return line.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_TEMPLATES = Environment(
    loader=PackageLoader("bench.gate"),
    autoescape=select_autoescape(["xml.j2"]),
    undefined=StrictUndefined,
    trim_blocks=True,
)
_TEMPLATES.globals |= {"text": text, "sentence": sentence, "name": case_name, "symbols": SYMBOLS}
_TEMPLATES.filters |= {
    "number": number,
    "as": format,
    "cell": _cell,
    "escaped": _escaped,
    "property": lambda title: _escaped(title).replace(":", "%3A").replace(",", "%2C"),  # ends at a comma or a colon
    "printable": lambda line: re.sub("[\0-\x1f]", " ", line),  # XML allows no control characters, not even escaped
}
