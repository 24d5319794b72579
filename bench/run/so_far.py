"""What a run has shown so far, as a table for the terminal: each contender's median stop and missed aborts."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.analysis.metrics import ChatMetrics
from bench.workload.plan import Case
from bench.workload.strategies import is_special

TITLE = "p50 stop so far, ms (missed aborts of all); preliminary"


@dataclass
class _Cell:
    """All blocks of one contender in one scenario."""

    stops_ms: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, measured: Sequence[ChatMetrics]) -> None:
        self.stops_ms += [each.upstream_stop_ms for each in measured if each.upstream_stop_ms is not None]
        self.outcomes.update(str(each.outcome) for each in measured)

    @property
    def text(self) -> Text:
        missed, errors = self.outcomes["missed"], self.outcomes["error"]
        aborts = missed + self.outcomes["stopped"]
        text = Text(f"{statistics.median(self.stops_ms):.1f}" if self.stops_ms else "-")
        if aborts:
            text.append(f" ({missed} of {aborts})", style="bold red" if missed else "dim")
        if errors:
            text.append(f" {errors} errors", style="bold red")
        return text


class SoFar:
    """A row per contender (and side), a column per scenario; a line names the unhealthy cases and the last reason."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], _Cell] = {}
        self._measured = self._unhealthy = 0
        self._reason = ""

    def add(self, case: Case, measured: Sequence[ChatMetrics], side: str, unhealthy: Sequence[str]) -> None:
        """A case has ended; `unhealthy`: why it cannot be believed. The instrument's own cases count for that only."""
        self._measured += 1
        if unhealthy:
            self._unhealthy += 1
            self._reason = f"{case.strategy}, {case.scenario.name}: {unhealthy[0]}"
        if not is_special(case.scenario.name):
            name = f"{side} {case.strategy}".lstrip()
            self._cells.setdefault((name, case.scenario.name), _Cell()).add(measured)

    def drawn(self) -> Group | None:
        """Title, table, and a line about the instrument; None before the first case has ended."""
        if not self._cells:
            return None
        rows, columns = (list(dict.fromkeys(names)) for names in zip(*self._cells, strict=True))
        table = Table(box=box.SIMPLE)
        table.add_column("contender", no_wrap=True)
        for column in columns:
            table.add_column(column, justify="right")
        for row in rows:
            cells = [self._cells.get((row, column)) for column in columns]
            table.add_row(row, *(each.text if each else "" for each in cells))
        return Group(Text(TITLE, style="bold"), table, self._health())

    def _health(self) -> Text:
        if not self._unhealthy:
            return Text(f"instrument: healthy in all {self._measured} cases", style="green")
        return Text(
            f"instrument: {self._unhealthy} of {self._measured} cases unhealthy; {self._reason}", style="yellow"
        )
