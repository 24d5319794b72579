"""`python -m bench relay`: what relaying one chunk costs, our service beside other relays, turn by turn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.experiments.relay.report import (
    CONTENDERS,
    PAIR,
    contenders_table,
    held_lines,
    ratios_table,
    summarise,
    write,
)
from bench.experiments.relay.turns import Stage, hold_and_stop, order, stage, take_turn, take_turns_together

TURN_S = 7.0
"""About what one turn takes, before the first has been seen."""
LIGHT_SHARE = 8
"""The naive relay cannot carry what is offered: it is also compared at so small a part of the streams."""
LIGHT_PAIR = ("naive", "redis-push")
SHARED = 4
"""Two loaded at once get a quarter of the streams each: half of what the machine is asked for otherwise."""
TOGETHER, TOGETHER_S = 2, 4.0
"""So often in each round, and for so long."""
Row = dict[str, Any]


def compare(console: Console, file: Path, *, pairs: int, streams: int, itl_ms: float, held_streams: int) -> None:
    """Measure all contenders `pairs` times, in turns, then the many held streams; show it, and write `file`.

    In every round the pair that has to be told apart most finely is also loaded at the same time, each with a quarter
    of the streams, and the naive relay and redis-push once more at a load that both can carry. Raises RelayError,
    StoreError or ChildError; then `file` is what it was.
    """
    settings = {"pairs": pairs, "streams": streams, "itl_ms": itl_ms, "held_streams": held_streams, "workers": 1}
    few = max(1, streams // LIGHT_SHARE)
    shared = max(1, streams // SHARED)
    settings |= {"light_streams": few, "together_streams": shared, "together_window_s": TOGETHER_S}
    samples: dict[str, list[list[Row]]] = {"rounds": [], "together": [], "light": []}
    with stage() as on, _bar(console) as bar:
        tell = _Turns(console, bar, pairs * (len(CONTENDERS) + TOGETHER + len(LIGHT_PAIR)), itl_ms)
        for number in range(pairs):
            title = f"round {number + 1}/{pairs}"
            samples["rounds"].append([tell.turn(on, title, name, streams) for name in order(number)])
            samples["together"] += [tell.together(on, title, shared) for _ in range(TOGETHER)]
            samples["light"].append([tell.turn(on, title, name, few) for name in order(number, LIGHT_PAIR)])
        tell.last(f"{held_streams:,} streams held, then stopped")
        held = hold_and_stop(on, streams=held_streams)
    summary = summarise(samples, held, settings)
    write(summary, file)
    console.print(contenders_table(summary), ratios_table(summary))
    for doubt in summary["doubts"]:
        console.print(f"not claimable: {doubt}", highlight=False, soft_wrap=True)
    for line in held_lines(held):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"every sample: {file}", highlight=False, soft_wrap=True)


class _Turns:
    """Takes one turn after the other, and tells how it went and how much time is left."""

    def __init__(self, console: Console, bar: Progress, turns: int, itl_ms: float) -> None:
        self._console = console
        self._bar = bar
        self._task = bar.add_task("starting", total=turns + 1, left="")
        self._turns = turns
        self._itl_ms = itl_ms
        self._done = 0
        self._began = time.monotonic()

    def turn(self, on: Stage, title: str, name: str, streams: int) -> Row:
        """The sample of one turn."""
        left = self._next(f"{title} {name}")
        sample = take_turn(on, name, streams=streams, itl_ms=self._itl_ms)
        self._done += 1
        self._say(title, sample, left)
        return sample

    def _next(self, what: str) -> str:
        taken_s = time.monotonic() - self._began
        left_s = (taken_s / self._done if self._done else TURN_S) * (self._turns - self._done)
        left = f"{left_s // 60:.0f}:{left_s % 60:02.0f} left"
        self._bar.update(self._task, completed=self._done, description=what, left=left)
        return left

    def _say(self, title: str, sample: Row, left: str) -> None:
        line = (
            f"{title}  {sample['contender']:11}{sample['streams']:5} streams{sample['cpu_us_per_chunk']:7.1f} us/chunk"
        )
        self._console.print(f"{line}{sample['chunks_per_s']:9,.0f} chunks/s  {left}", highlight=False, soft_wrap=True)

    def together(self, on: Stage, title: str, streams: int) -> list[Row]:
        """The samples of the pair, loaded at once."""
        names = " and ".join(PAIR)
        left = self._next(f"{title} {names}")
        samples = take_turns_together(on, PAIR, streams=streams, itl_ms=self._itl_ms, window_s=TOGETHER_S)
        for sample in samples:
            self._say(title, sample, f"at once  {left}")
        self._done += 1
        return samples

    def last(self, what: str) -> None:
        """All turns are taken; what is left to do."""
        self._bar.update(self._task, completed=self._turns, description=what, left="")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        refresh_per_second=2,  # the terminal shares the cores with the measurement
    )
