"""The outcome in the terminal: what fired and what is open line by line, what is equivalent as a count."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.analysis.reading import case_name
from bench.gate.outcome import Outcome
from bench.gate.verdict_text import change, interval, margin, number

COLOURS = {"worse": "red", "better": "green", "equivalent": "green", "inconclusive": "yellow", "invalid": "red"}


def show(outcome: Outcome, console: Console) -> None:
    """Print table, rules, notes and, last, the verdict."""
    console.print(table(outcome))
    for line in outcome.reasons:
        console.print(Text(line, style="red"), soft_wrap=True)
    for line in (outcome.margin_source, *outcome.notes):
        console.print(Text(line, style="dim"), soft_wrap=True)
    verdict = Text(outcome.verdict, style=f"bold {COLOURS[outcome.verdict]}")
    console.print(Text.assemble("verdict: ", verdict, f": {outcome.sentence}"), soft_wrap=True)


def table(outcome: Outcome) -> Table:
    """Every finding that is not equivalent, and how many are; two lines each, so that 80 columns are enough."""
    found = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    found.add_column("verdict", no_wrap=True)
    found.add_column("metric\ncase")
    for name in ("base -> head\nmargin", "change\n90 % interval"):
        found.add_column(name, justify="right", no_wrap=True)
    for verdict in ("worse", "better", "inconclusive"):
        for finding in outcome.having(verdict):
            decision = finding.decision
            values = f"{number(decision.base)} -> {number(decision.head)} {outcome.unit(finding.metric)}"
            found.add_row(
                Text(verdict, style=COLOURS[verdict]),
                f"{finding.metric}\n{case_name(finding.case)}",
                f"{values}\n{margin(finding, outcome)}",
                f"{change(decision)}\n{interval(decision)}",
            )
    equivalent = outcome.having("equivalent")
    if equivalent:
        found.add_row(Text("equivalent", style="green"), f"{len(equivalent)} more", "", "")
    return found
