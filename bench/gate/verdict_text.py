"""The outcome as text: findings, markdown, GitHub annotations, JUnit, and the JSON of github-action-benchmark."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from bench.analysis.reading import CaseKey, case_name
from bench.gate.family import Finding
from bench.gate.outcome import Outcome
from bench.gate.verdict import Decision
from bench.record.verdict import SideInfo

ABSENT = "-"
MAX_ANNOTATIONS = 10
"""GitHub shows no more errors of one step; all of them are in the summary."""
SYMBOLS = {"worse": "❌", "better": "✅", "equivalent": "✅", "inconclusive": "❔", "invalid": "⚠️"}
HEADINGS = ("", "case", "metric", "base", "head", "change", "90 % interval", "margin", "power", "blocks")


def number(value: float | None, digits: int = 3) -> str:
    """A value with this many significant digits and no exponent."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def change(decision: Decision) -> str:
    """Head against base as a percentage and as a difference in the metric's unit."""
    if decision.shift is None or decision.blocks == 0:
        return ABSENT
    share = f"{decision.ratio - 1:+.1%}, " if decision.ratio is not None else ""
    return f"{share}{decision.shift:+.3g}"


def interval(decision: Decision) -> str:
    """The 90 % interval of the change, as percentages, or of the difference if base is zero."""
    low, high = decision.interval("ratio")
    if low is not None and high is not None:
        return f"{low - 1:+.1%} to {high - 1:+.1%}"
    low, high = decision.interval("shift")
    return ABSENT if low is None or high is None else f"{low:+.3g} to {high:+.3g}"


def margin(finding: Finding, outcome: Outcome) -> str:
    """The largest change that does not count."""
    found = finding.decision.margin
    slack = f" + {number(found.slack)} {outcome.unit(finding.metric)}".rstrip() if found.slack else ""
    return f"{found.share:.1%}{slack}"


def sentence(finding: Finding, outcome: Outcome) -> str:
    """One finding with all its figures."""
    decision, unit = finding.decision, outcome.unit(finding.metric)
    if not decision.blocks:
        sides = [name for name, value in (("base", decision.base), ("head", decision.head)) if value is None]
        return f"{case_name(finding.case)}: no {finding.metric} in {' and '.join(sides) or 'common blocks'}"
    p = decision.p_worse if decision.effect > 0 else decision.p_better
    return (
        f"{case_name(finding.case)}: {finding.metric} is {decision.verdict}:"
        f" {number(decision.base)} -> {number(decision.head)} {unit} ({change(decision)};"
        f" 90 % interval {interval(decision)}; margin {margin(finding, outcome)}; p {p:.2g};"
        f" {decision.blocks} blocks; power at the margin {decision.power:.0%})"
    )


def markdown(outcome: Outcome) -> str:
    """The step summary: the verdict, its reasons, a table of what is not equivalent; the rest folded."""
    sides = " against ".join(_cell(_side(side)) for side in (outcome.head, outcome.base))
    shown = [*outcome.having("worse"), *outcome.having("better"), *outcome.having("inconclusive")]
    rest = outcome.having("equivalent")
    parts = [
        f"## {SYMBOLS[outcome.verdict]} {outcome.verdict}",
        f"{_cell(outcome.sentence)}.",
        f"{sides}." if outcome.head.name and outcome.base.name else "",
        "\n".join(f"- {_cell(line)}" for line in outcome.reasons),
        _table(shown, outcome) if shown else "",
        f"<details><summary>{len(rest)} equivalent</summary>\n\n{_table(rest, outcome)}\n\n</details>" if rest else "",
        "\n".join(f"- {_cell(note)}" for note in (outcome.margin_source, *outcome.notes) if note),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def github_annotations(outcome: Outcome) -> list[str]:
    """Workflow commands for the log: an error per broken rule and worse metric, else a warning with the reason.

    A measurement that shows nothing is a warning: the settings of the action decide whether it fails the job.
    """
    lines = [("error", f"{broken.rule}: {case_name(broken.case)}", broken.sentence) for broken in outcome.rules]
    if outcome.verdict == "worse":
        lines += [
            ("error", f"{each.metric}: {case_name(each.case)}", sentence(each, outcome))
            for each in outcome.having("worse")
        ]
    elif outcome.verdict in ("invalid", "inconclusive"):
        title = "measurement invalid" if outcome.verdict == "invalid" else "inconclusive"
        lines.append(("warning", title, outcome.sentence))
    return [f"::{level} title={_property(title)}::{_escape(text)}" for level, title, text in lines[:MAX_ANNOTATIONS]]


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


def junit(outcome: Outcome) -> str:
    """A JUnit `testsuite`: a failure per worse metric and broken rule, skipped if inconclusive, an error if invalid."""
    suite = ET.Element("testsuite", name="bench gate")

    def add(case: CaseKey, name: str, tag: str, message: str, kind: str = "") -> None:
        test = ET.SubElement(suite, "testcase", classname=f"{case.scenario}.{case.strategy}.{case.workers}", name=name)
        if tag == "system-out":
            ET.SubElement(test, tag).text = _printable(message)
        else:
            ET.SubElement(test, tag, {"type": kind} if kind else {}, message=_printable(message))

    for broken in outcome.rules:
        add(broken.case, broken.rule, "failure", broken.sentence, "zero tolerance")
    for broken in outcome.unproven:
        add(broken.case, broken.rule, "skipped", f"unproven: {broken.sentence}")
    for finding in outcome.claimed:
        text = sentence(finding, outcome)
        if finding.decision.verdict == "worse":
            add(finding.case, finding.metric, "failure", text, "worse")
        else:
            tag = "skipped" if finding.decision.verdict == "inconclusive" else "system-out"
            add(finding.case, finding.metric, tag, text)
    if outcome.verdict == "invalid":
        test = ET.SubElement(suite, "testcase", classname="measurement", name="valid")
        ET.SubElement(test, "error", type="invalid", message=_printable(outcome.sentence))
    for tag, name in (("failure", "failures"), ("skipped", "skipped"), ("error", "errors")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _table(findings: list[Finding], outcome: Outcome) -> str:
    rows: list[tuple[str, ...]] = [HEADINGS, ("---",) * len(HEADINGS)]
    for finding in findings:
        decision, unit = finding.decision, outcome.unit(finding.metric)
        values = (f"{number(decision.base)} {unit}", f"{number(decision.head)} {unit}")
        limits = (change(decision), interval(decision), margin(finding, outcome))
        place = (SYMBOLS[decision.verdict], case_name(finding.case), finding.metric)
        rows.append((*place, *values, *limits, f"{decision.power:.0%}", str(decision.blocks)))
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)


def _side(side: SideInfo) -> str:
    return " ".join(str(value) for value in (side.name, side.commit) if value)


def _cell(text: str) -> str:
    """Text that cannot end a table cell or become HTML."""
    clean = " ".join(text.split())
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        clean = clean.replace(sign, safe)
    return clean


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property of a workflow command ends at a comma or a colon."""
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def _printable(text: str) -> str:
    """XML allows no control characters, not even escaped."""
    return "".join(sign if sign >= " " else " " for sign in text)
