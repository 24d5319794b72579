"""Progress of a run: one line per finished case and, on a terminal, the figures so far and one bar for the run."""

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.analysis.metrics import ChatMetrics
from bench.load.driver import expected_s
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.so_far import SoFar
from bench.workload.plan import Case
from bench.workload.strategies import is_special


@dataclass(frozen=True)
class Expected:
    """The planned length of a run: a number of blocks or, if `blocks` is None, a number of minutes."""

    blocks: int | None = 1
    minutes: float = 0.0


class _Live(Progress):
    """The bar, and above it the figures so far."""

    def __init__(self, so_far: SoFar, *columns: ProgressColumn, **options: Any) -> None:
        self._so_far = so_far  # first: the constructor of Progress draws
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn below the lines of the finished cases."""
        if (drawn := self._so_far.drawn()) is not None:
            yield drawn
        yield from super().get_renderables()


class ProgressView:
    """Progress over a run; cases are weighted by the expected duration of their load.

    `cases` are measured from each of `sides` in every block, the instrument's own cases once.
    """

    def __init__(self, cases: Sequence[Case], console: Console, *, sides: int = 1, expects: Expected) -> None:
        self._console = console
        self._block_s = sides * sum(map(expected_s, cases)) + (expected_s(FLOOR_CASE) if sides == 1 else 0.0)
        self._count = sides * len(cases)
        self._expects = expects
        self._so_far = SoFar()
        self._bar = _Live(
            self._so_far,
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[end]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            refresh_per_second=2,  # the terminal shares the cores with the measurement
        )
        self._task = self._bar.add_task("starting", total=1.0, end="")
        self._began = time.monotonic()
        self._block = self._number = 0
        self._done_s = self._shown = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, block: int) -> None:
        """Begin a block; blocks are counted from 0."""
        self._block, self._number = block, 0
        self._done_s = expected_s(CALIBRATION_CASE) + block * self._block_s

    def say(self, what: str) -> None:
        """Show the current step."""
        self._bar.update(self._task, description=what)

    def advance(self, case: Case, share: float) -> None:
        """`share` of the case's chats are done."""
        self.say(self._name(case, self._number + 1))
        self._show(self._done_s + expected_s(case) * share)

    def finished(
        self, case: Case, measured: Sequence[ChatMetrics], side: str = "", unhealthy: Sequence[str] = ()
    ) -> None:
        """Print the line of a case: counted aborts, their median stop latency, and the number of missed aborts."""
        self._so_far.add(case, measured, side, unhealthy)
        self._done_s += expected_s(case)
        self._number += not is_special(case.scenario.name)
        kinds = Counter(each.outcome for each in measured)
        stops = [each.upstream_stop_ms for each in measured if each.upstream_stop_ms is not None]
        p50 = f"{statistics.median(stops):8.1f} ms" if stops else "       -   "
        name = f"{side} {case.strategy}".lstrip()
        line = f"{self._block + 1:2}  {name:15} {case.scenario.name:12} {case.workers} w"
        line += f"  n {kinds['stopped'] + kinds['missed']:4}  p50 stop {p50}  missed {kinds['missed']:4}"
        if kinds["error"]:
            line += f"  errors {kinds['error']}"
        if unhealthy:
            line += "  unhealthy"
        self._show(self._done_s)
        if not self._console.is_terminal:
            line += f"  ({self._end})"
        self._console.print(line, highlight=False, soft_wrap=True)

    def _name(self, case: Case, number: int) -> str:
        if is_special(case.scenario.name):
            return case.scenario.name
        of = "" if self._expects.blocks is None else f" of {self._expects.blocks}"
        return f"block {self._block + 1}{of}, case {number} of {self._count}: {case.strategy}, {case.scenario.name}"

    def _show(self, done_s: float) -> None:
        """Advance the bar, never backwards, and estimate the end from the pace so far."""
        took_s = time.monotonic() - self._began
        blocks = self._expects.blocks
        whole_s = expected_s(CALIBRATION_CASE) + (self._block + 1 if blocks is None else blocks) * self._block_s
        share = min(1.0, done_s / whole_s)
        total_s = took_s / max(share, 1e-3)
        if blocks is None and total_s < self._expects.minutes * 60:  # more blocks will follow
            total_s = self._expects.minutes * 60
            share = took_s / total_s
        self._shown = max(self._shown, min(share, 1.0))
        at = time.strftime("%H:%M", time.localtime(time.time() + max(0.0, total_s - took_s)))
        self._end = f"ends about {at}" if blocks is not None else f"ends by about {at}"
        self._bar.update(self._task, completed=self._shown, end=self._end)
