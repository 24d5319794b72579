"""Findings as text, the same in the terminal, in markdown, in JUnit and in annotations."""

from __future__ import annotations

from bench.analysis.reading import case_name
from bench.gate.decision import Decision
from bench.gate.family import Finding
from bench.gate.outcome import Outcome

ABSENT = "-"


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
