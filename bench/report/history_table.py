"""A metric's history in the terminal: a row per run."""

from __future__ import annotations

from rich.table import Table

from bench.analysis.reading import case_name
from bench.report.formatting import number
from bench.report.history import History, Line


def tables(history: History) -> list[Table]:
    """A table per line of the history, oldest run first; narrow enough for 80 columns."""
    return [_table(line, history.metric) for line in history.lines]


def _table(line: Line, metric: str) -> Table:
    title = f"{case_name(line.case)}: {metric}"
    found = Table(title=title, title_justify="left", min_width=78, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("started (UTC)", "commit"):
        found.add_column(name, no_wrap=True)
    for name in ("value", "95 % interval"):
        found.add_column(name, justify="right", no_wrap=True)
    for point in line.points:
        found.add_row(
            point.started_utc.rstrip("Z").replace("T", " "),
            point.commit,
            number(point.value),
            " to ".join(number(end) for end in point.interval) if point.interval else "-",
        )
    return found
