"""What a person sees while a run goes on: a line per finished case, on a terminal a bar with the block's time left."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.load import expected_s
from bench.measures import Measured
from bench.plan import Case


class View:
    """Progress over a block, its cases weighted by how long each should take; how many blocks come is not known.

    `shared` cases are measured once, the others from every side.
    """

    def __init__(self, shared: Sequence[Case], cases: Sequence[Case], console: Console, *, sides: int = 1) -> None:
        self._console = console
        self._block_s = sum(expected_s(case) for case in [*shared, *(list(cases) * sides)])
        self._count = len(shared) + sides * len(cases)
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
        self._task = self._bar.add_task("starting", total=self._block_s, left="")
        self.begin(0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, block: int) -> None:
        """The next block begins; they are counted from 0."""
        self._block = block
        self._done_s = 0.0
        self._number = 0
        self._began = time.monotonic()
        self._bar.reset(self._task, total=self._block_s, left="")

    def say(self, what: str) -> None:
        """Name what is going on besides the load."""
        self._bar.update(self._task, description=f"block {self._block + 1}: {what}")

    def advance(self, case: Case, share: float) -> None:
        """`share` of the case's chats are done."""
        done_s = self._done_s + expected_s(case) * share
        self.say(f"{self._number + 1}/{self._count} {case.strategy} {case.scenario.name}")
        self._bar.update(self._task, completed=done_s, left=self._left(done_s))

    def finished(self, case: Case, measured: Sequence[Measured], side: str = "") -> None:
        """Print the case's line: aborts that counted, their median stop at the upstream, how many were missed."""
        self._done_s += expected_s(case)
        self._number += 1
        kinds = Counter(each.kind for each in measured)
        stops = [each.upstream_stop_ms for each in measured if each.upstream_stop_ms is not None]
        p50 = f"{statistics.median(stops):8.1f} ms" if stops else "       -   "
        name = f"{side} {case.strategy}".lstrip()
        line = f"{self._block + 1:2}  {name:15} {case.scenario.name:12} {case.workers} w"
        line += f"  n {kinds['stopped'] + kinds['missed']:4}  p50 stop {p50}  missed {kinds['missed']:4}"
        if kinds["error"]:
            line += f"  errors {kinds['error']}"
        if not self._console.is_terminal:
            line += f"  ({self._number}/{self._count}, {self._left(self._done_s)})"
        self._console.print(line, highlight=False, soft_wrap=True)
        self._bar.update(self._task, completed=self._done_s, left=self._left(self._done_s))

    def _left(self, done_s: float) -> str:
        """The time left of this block, at its pace so far: starting servers and slow machines are in it."""
        left_s = self._block_s - done_s
        if self._number:
            left_s *= (time.monotonic() - self._began) / max(done_s, 0.1)
        return f"{int(left_s) // 60}:{int(left_s) % 60:02d} left in block {self._block + 1}"
