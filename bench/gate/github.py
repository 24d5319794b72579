"""The outcome on GitHub: the step summary in markdown, annotations, and github-action-benchmark's JSON."""

from __future__ import annotations

from typing import Any

from bench.analysis.reading import case_name
from bench.gate.family import Finding
from bench.gate.outcome import Outcome
from bench.gate.verdict_text import change, interval, margin, number, sentence

ANNOTATIONS = 10
"""GitHub shows no more of a step's errors; what is left out stands in the summary."""
SIGNS = {"worse": "❌", "better": "✅", "equivalent": "✅", "inconclusive": "❔", "invalid": "⚠️"}
HEADS = ("", "case", "metric", "base", "head", "change", "90 % interval", "margin", "power", "blocks")


def markdown(outcome: Outcome) -> str:
    """The step summary: the verdict, what fired, what is open; the rest folded away."""
    sides = " against ".join(_cell(_side(side)) for side in (outcome.head, outcome.base))
    told = [*outcome.having("worse"), *outcome.having("better"), *outcome.having("inconclusive")]
    rest = outcome.having("equivalent")
    parts = [
        f"## {SIGNS[outcome.verdict]} {outcome.verdict}",
        f"{_cell(outcome.sentence)}.",
        f"{sides}." if outcome.head or outcome.base else "",
        "\n".join(f"- {_cell(line)}" for line in outcome.reasons),
        _table(told, outcome) if told else "",
        f"<details><summary>{len(rest)} equivalent</summary>\n\n{_table(rest, outcome)}\n\n</details>" if rest else "",
        "\n".join(f"- {_cell(note)}" for note in (outcome.margins_say, *outcome.notes) if note),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def workflow_commands(outcome: Outcome) -> list[str]:
    """Annotations for the log: an error per broken rule and worse metric, else a warning that says why not.

    That a measurement shows nothing is no error here: the caller's own settings say whether it fails the job.
    """
    lines = [("error", f"{fired.rule}: {case_name(fired.case)}", fired.sentence) for fired in outcome.rules]
    if outcome.verdict == "worse":
        lines += [
            ("error", f"{each.metric}: {case_name(each.case)}", sentence(each, outcome))
            for each in outcome.having("worse")
        ]
    if outcome.verdict == "invalid":
        lines.append(("warning", "measurement invalid", outcome.sentence))
    elif outcome.verdict == "inconclusive":
        lines.append(("warning", "inconclusive", outcome.sentence))
    return [f"::{level} title={_property(title)}::{_escape(text)}" for level, title, text in lines[:ANNOTATIONS]]


def smaller_is_better(outcome: Outcome) -> list[dict[str, Any]]:
    """github-action-benchmark's `customSmallerIsBetter`: head's medians; rates, where more is better, are left out."""
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


def _table(findings: list[Finding], outcome: Outcome) -> str:
    rows = [HEADS, ("---",) * len(HEADS), *(_row(finding, outcome) for finding in findings)]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)


def _row(finding: Finding, outcome: Outcome) -> tuple[str, ...]:
    decision, unit = finding.decision, outcome.unit(finding.metric)
    return (
        SIGNS[decision.verdict],
        case_name(finding.case),
        finding.metric,
        f"{number(decision.base)} {unit}",
        f"{number(decision.head)} {unit}",
        change(decision),
        interval(decision),
        margin(finding, outcome),
        f"{decision.power:.0%}",
        str(decision.blocks),
    )


def _side(side: Any) -> str:
    return " ".join(str(side[key]) for key in ("name", "commit") if side.get(key)) or "unnamed"


def _cell(text: str) -> str:
    """Text that cannot break out of a table cell or become HTML."""
    clean = " ".join(text.split())
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        clean = clean.replace(sign, safe)
    return clean


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property ends at a comma or a colon."""
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
