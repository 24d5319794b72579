"""The table that a run prints on the terminal; it fits 80 columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.table import Table

_FIGURES = re.compile(r"\d[\d.,]*")


def case_table(cases: Sequence[dict[str, Any]]) -> Table:
    """The cases of a summary, a line each, under a title that says what is measured."""
    title = "Latency to stop: from the abort sent to the upstream's connection lost"
    table = Table(title=title, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("scenario", "strategy"):
        table.add_column(name, no_wrap=True)
    for name in ("n", "p50\nms", "p95\nms", "missed", "wasted\ntokens", "CPU us\n/token", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for case in cases:
        heading = f"{case['scenario']}, {case['workers']} w"
        new = heading != before
        if new and before is not None:
            table.add_row()
        before = heading
        metrics = case["metrics"]
        stop = metrics.get("upstream_stop_ms", {})
        table.add_row(
            heading if new else "",
            case["strategy"],
            str(case["aborts"]),
            _number(stop.get("p50")),
            _number(stop.get("p95")),
            str(case["missed"]),
            _number(metrics.get("wasted_tokens", {}).get("mean")),
            _number(metrics.get("server_cpu_us_per_token", {}).get("p50")),
            str(case["errors"]),
        )
    return table


def by_cause(problems: Sequence[str]) -> list[str]:
    """The problems (`case: cause`), one for each cause; causes that differ only in their figures count as the same."""
    groups: dict[str, list[str]] = {}
    for problem in problems:
        groups.setdefault(_FIGURES.sub("0", problem.partition(": ")[2] or problem), []).append(problem)
    found = []
    for first, *others in groups.values():
        also = list(dict.fromkeys(each.partition(": ")[0] for each in others))
        found.append(f"{first} (and in {len(others)} more: {', '.join(also)})" if also else first)
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
