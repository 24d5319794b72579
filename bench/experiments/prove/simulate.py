"""`prove --simulate`: the gate's operating characteristic from recorded comparisons of equal code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET
from rich.table import Table

from bench.experiments.tables import table
from bench.gate.simulation import RUNS, Cell, Spread, simulate
from bench.gate.verdict import RULE_VERSION, Margin, Verdict
from bench.record.base import RecordError, read_file
from bench.record.verdict import JudgedRow, VerdictRecord
from bench.stats.paired import MIN_BLOCKS
from bench.stats.proportions import proportion_interval
from bench.workload.scenario import PlanError

FILE = "simulated.json"
DEFAULT = Path("results/reference/gate-blocks.json")
SHIFTS = (0.0, 0.02, 0.05, 0.10, 0.20, 0.50)
BLOCKS = (5, 10, 20)
METRICS = ("upstream_stop_ms", "server_cpu_us_per_token", "store_ops_per_chat")
"""The gate judges the stop's p50 (upstream_stop_ms); a metric that the record does not have is left out."""
MAX_WRONG = 0.01
PAGE = Path("docs/gate.md")
MARK = "error-rates"

Row = dict[str, Any]


def read_spreads(paths: Sequence[Path]) -> list[Spread]:
    """The metrics of verdict.json files; blocks of the same case and metric are joined, centred per file.

    Raises PlanError for files that cannot be used.
    """
    found: dict[tuple[str, str], Spread] = {}
    for path in paths:
        try:
            record = read_file(path, VerdictRecord)
        except (OSError, RecordError) as error:
            raise PlanError(
                f"--from {path}: {error}; give it the verdict.json of a `make regress` of equal code"
            ) from error
        for row in record.findings:
            if spread := _spread(row):
                before = found.get((row.case, row.metric))
                changes = [*(before.changes if before else ()), *spread.changes]
                found[row.case, row.metric] = spread._replace(changes=changes)
    spreads = [each for each in found.values() if len(each.changes) >= MIN_BLOCKS]
    if not any(each.metric in METRICS and each.base > 0 for each in spreads):
        raise PlanError(f"--from: no file has {MIN_BLOCKS} blocks of any of {', '.join(METRICS)}")
    return spreads


def _spread(row: JudgedRow) -> Spread | None:
    """The spread of a finding; None if its blocks were not recorded."""
    margin = row.margin
    if row.changes is UNSET or margin.share is UNSET or not isinstance(row.base, float):
        return None
    middle = sum(row.changes) / len(row.changes)
    slack = margin.slack if margin.slack is not UNSET else 0.0
    return Spread(row.case, row.metric, [each - middle for each in row.changes], row.base, Margin(margin.share, slack))


def measure(paths: Sequence[Path], *, seed: int) -> tuple[list[Cell], Row]:
    """All cells, and the contents of simulated.json. Raises PlanError."""
    cells = simulate(read_spreads(paths), METRICS, SHIFTS, BLOCKS, seed=seed, at_margin=True)
    record = {"schema": 1, "rule_version": RULE_VERSION, "runs": RUNS, "seed": seed}
    return cells, record | {"from": [path.name for path in paths], "cells": [row_of(each) for each in cells]}


def row_of(cell: Cell) -> Row:
    """`{"case", "metric", "base", "margin", "recorded_blocks", "shift", "blocks", "counts", "intervals", "wrong"}`.

    `margin` and `shift` are shares of base; `intervals`: the exact 95 % interval of the share of each verdict.
    """
    spread, runs = cell.spread, sum(cell.counts.values())
    found: Row = {
        "case": spread.case,
        "metric": spread.metric,
        "base": spread.base,
        "margin": round(spread.limit_share, 4),
    }
    found |= {"recorded_blocks": len(spread.changes), "shift": cell.shift, "blocks": cell.blocks, "counts": cell.counts}
    intervals = {name: proportion_interval(count, runs) for name, count in cell.counts.items()}
    return found | {
        "intervals": {name: [round(end, 5) for end in ends] for name, ends in intervals.items()},
        "wrong": cell.wrong,
    }


def too_often_wrong(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each cell with a wrong verdict in more than MAX_WRONG of its runs, beyond doubt."""
    return [
        f"{cell.spread.metric} ({cell.spread.case}), {cell.shift:+.0%}, {cell.blocks} blocks: {verdict}"
        f" in {cell.counts[verdict] / sum(cell.counts.values()):.1%} (limit {MAX_WRONG:.0%})"
        for cell in cells
        for verdict in cell.wrong
        if proportion_interval(cell.counts[verdict], sum(cell.counts.values()))[0] > MAX_WRONG
    ]


def markdown(cells: Sequence[Cell]) -> str:
    """The table of the documentation: a row per metric, shift and number of blocks; a wrong verdict is bold."""
    names: tuple[Verdict, ...] = ("worse", "better", "equivalent", "inconclusive")
    lines = ["| case | metric (margin) | shift | blocks |" + "".join(f" {name} |" for name in names)]
    lines.append("|---|---|--:|--:|" + "--:|" * len(names))
    for cell in cells:
        shares = []
        for name in names:
            count, runs = cell.counts[name], sum(cell.counts.values())
            low, high = proportion_interval(count, runs)
            share = f"{100 * count / runs:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            shares.append(f"**{share}**" if count and name in cell.wrong else share)
        spread = cell.spread
        lines.append(
            f"| {spread.case} | {spread.metric} ({spread.limit_share:.0%}) | {cell.shift:+.0%} | {cell.blocks} | "
            + " | ".join(shares)
            + " |"
        )
    return "\n".join(lines) + "\n"


def terminal_tables(cells: Sequence[Cell]) -> list[Table]:
    """The share of each verdict, a table per case and metric."""
    names: tuple[Verdict, ...] = ("worse", "better", "equivalent", "inconclusive")
    found: dict[str, list[list[str]]] = {}
    for cell in cells:
        spread, runs = cell.spread, sum(cell.counts.values())
        shares = [f"{cell.counts[name] / runs:.1%}" for name in names]
        title = f"{spread.metric}, {spread.case}: margin {spread.limit_share:.0%}"
        found.setdefault(title, []).append([f"{cell.shift:+.0%}", str(cell.blocks), *shares])
    return [table(title, ["shift", "blocks", *names], rows) for title, rows in found.items()]


def write_page(page: Path, text: str) -> None:
    """Replace what stands between the marks in the page. Raises PlanError if they are absent."""
    start, end = f"<!-- {MARK} -->\n", f"<!-- /{MARK} -->"
    old = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, found, rest = old.partition(start)
    _old, closed, after = rest.partition(end)
    if not (found and closed):
        raise PlanError(f"{page} has no marks {start.strip()} and {end}")
    page.write_text(f"{before}{start}{text}{end}{after}", encoding="utf-8")
