"""`python -m bench relay`: what relaying one chunk costs, our service beside other relays, turn by turn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.relay_report import CONTENDERS, contenders_table, held_lines, ratios_table, summarise, write
from bench.relay_turns import hold_and_stop, order, stage, take_turn

TURN_S = 7.0
"""About what one turn takes, before the first has been seen."""


def compare(console: Console, file: Path, *, pairs: int, streams: int, itl_ms: float, held_streams: int) -> None:
    """Measure all contenders `pairs` times, in turns, then the many held streams; show it, and write `file`.

    Raises RelayError, StoreError or ChildError; then `file` is what it was.
    """
    rounds: list[list[dict[str, Any]]] = []
    turns = pairs * len(CONTENDERS)
    began = time.monotonic()
    with stage() as on, _bar(console) as bar:
        task = bar.add_task("starting", total=turns + 1, left="")
        for number in range(pairs):
            rounds.append([])
            for name in order(number):
                done = number * len(CONTENDERS) + len(rounds[-1])
                left_s = (time.monotonic() - began) / done * (turns - done) if done else TURN_S * turns
                left = f"{left_s // 60:.0f}:{left_s % 60:02.0f} left"
                bar.update(task, completed=done, description=f"round {number + 1}/{pairs} {name}", left=left)
                sample = take_turn(on, name, streams=streams, itl_ms=itl_ms)
                rounds[-1].append(sample)
                line = f"round {number + 1}/{pairs}  {name:11}{sample['cpu_us_per_chunk']:7.1f} us/chunk"
                console.print(f"{line}{sample['chunks_per_s']:9,.0f} chunks/s  {left}", highlight=False, soft_wrap=True)
        bar.update(task, completed=turns, description=f"{held_streams:,} streams held, then stopped", left="")
        held = hold_and_stop(on, streams=held_streams)
    settings = {"pairs": pairs, "streams": streams, "itl_ms": itl_ms, "held_streams": held_streams, "workers": 1}
    summary = summarise(rounds, held, settings)
    write(summary, file)
    console.print(contenders_table(summary), ratios_table(summary))
    for line in held_lines(held):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"every sample: {file}", highlight=False, soft_wrap=True)


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
