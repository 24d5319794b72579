"""What a person sees while a run goes on: a line per finished case, and on a terminal a bar with the time left."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.load import expected_s
from bench.measures import measure
from bench.plan import Case


class View:
    """Progress over the cases of a run, weighted by how long each should take."""

    def __init__(self, cases: Sequence[Case], console: Console) -> None:
        self._console = console
        self._total_s = sum(expected_s(case) for case in cases)
        self._done_s = 0.0
        self._number = 0
        self._count = len(cases)
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            refresh_per_second=2,  # the terminal shares the cores with the measurement
        )
        self._task = self._bar.add_task("starting", total=self._total_s, left="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, what: str) -> None:
        """Name what is going on besides the load."""
        self._bar.update(self._task, description=what)

    def advance(self, case: Case, share: float) -> None:
        """`share` of the case's chats are done."""
        done_s = self._done_s + expected_s(case) * share
        name = f"{self._number + 1}/{self._count} {case.strategy} {case.scenario.name}"
        self._bar.update(self._task, completed=done_s, description=name, left=self._left(done_s))

    def finished(self, case: Case, rows: Sequence[dict[str, Any]]) -> None:
        """Print the case's line: aborts that counted, their median stop at the upstream, how many were missed."""
        self._done_s += expected_s(case)
        self._number += 1
        measured = [measure(row) for row in rows]
        kinds = Counter(each.kind for each in measured)
        stops = [each.upstream_stop_ms for each in measured if each.upstream_stop_ms is not None]
        p50 = f"{statistics.median(stops):8.1f} ms" if stops else "       -   "
        line = f"{case.strategy:15} {case.scenario.name:12} n {kinds['stopped'] + kinds['missed']:4}  p50 stop {p50}"
        line += f"  missed {kinds['missed']:4}"
        if kinds["error"]:
            line += f"  errors {kinds['error']}"
        if not self._console.is_terminal:
            line += f"  ({self._number}/{self._count}, {self._left(self._done_s)})"
        self._console.print(line, highlight=False, soft_wrap=True)
        self._bar.update(self._task, completed=self._done_s, left=self._left(self._done_s))

    def _left(self, done_s: float) -> str:
        """The time left, at the pace so far: starting servers and slow machines are in it."""
        if self._number == 0:
            left_s = self._total_s - done_s
        else:
            left_s = (time.monotonic() - self._began) * (self._total_s - done_s) / max(done_s, 0.1)
        return f"{int(left_s) // 60}:{int(left_s) % 60:02d} left"
