"""`python -m bench relay`: the cost of relaying one chunk, our service compared with other relays, turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.status import Status

from bench.experiments.frame import write_json
from bench.experiments.relay.report import CONTENDERS, PAIR, contenders_table, held_lines, ratios_table, summarise
from bench.experiments.relay.turns import hold_and_stop, order, stage, take_turn, take_turns_together
from bench.experiments.tables import Row, minutes_left

TURN_S = 7.0
"""About the time of one turn, until the first was measured."""
LIGHT_SHARE = 8
"""The naive relay cannot carry the offered load: it is also compared at this fraction of the streams."""
LIGHT_PAIR = ("naive", "redis-push")
SHARED = 4
"""Two loaded at once get a quarter of the streams each: half of the load of a single turn."""
TOGETHER, TOGETHER_S = 2, 4.0
"""How often in each round, and for how long."""


def compare(console: Console, file: Path, *, pairs: int, streams: int, itl_ms: float, held_streams: int) -> None:
    """Measure all contenders `pairs` times, in turns, then the many held streams; print it, and write `file`.

    In every round the pair with the smallest difference is also loaded at the same time, each with a quarter of the
    streams, and the naive relay and redis-push once more at a load that both can carry. Raises RelayError, StoreError
    or ChildError; `file` then stays as it was.
    """
    light, shared = max(1, streams // LIGHT_SHARE), max(1, streams // SHARED)
    settings: Row = {"pairs": pairs, "streams": streams, "itl_ms": itl_ms, "held_streams": held_streams, "workers": 1}
    settings |= {"light_streams": light, "together_streams": shared, "together_window_s": TOGETHER_S}
    samples: dict[str, list[list[Row]]] = {"rounds": [], "together": [], "light": []}
    with stage() as on, console.status("starting") as status:
        turns = _Turns(console, status, pairs * (len(CONTENDERS) + TOGETHER + len(LIGHT_PAIR)))

        def alone(name: str, count: int) -> Row:
            return turns.take(name, lambda: [take_turn(on, name, streams=count, itl_ms=itl_ms)])[0]

        def together() -> list[Row]:
            load = {"streams": shared, "itl_ms": itl_ms, "window_s": TOGETHER_S}
            return turns.take(" and ".join(PAIR), lambda: take_turns_together(on, PAIR, **load))  # type: ignore[arg-type]

        for number in range(pairs):
            turns.title = f"round {number + 1}/{pairs}"
            samples["rounds"].append([alone(name, streams) for name in order(number)])
            samples["together"] += [together() for _ in range(TOGETHER)]
            samples["light"].append([alone(name, light) for name in order(number, LIGHT_PAIR)])
        status.update(f"{held_streams:,} streams held, then stopped")
        held = hold_and_stop(on, streams=held_streams)
    summary = summarise(samples, held, settings)
    write_json(file, summary)
    console.print(contenders_table(summary), ratios_table(summary))
    doubts = [f"not claimable: {doubt}" for doubt in summary["doubts"]]
    for line in (*doubts, *held_lines(held), f"every sample: {file}"):
        console.print(line, highlight=False, soft_wrap=True)


class _Turns:
    """Takes the turns, prints a line for each sample, and shows the time that is left."""

    def __init__(self, console: Console, status: Status, count: int) -> None:
        self.title = ""
        self._console = console
        self._status = status
        self._left = count
        self._took_s: list[float] = []

    def take(self, name: str, turn: Callable[[], list[Row]]) -> list[Row]:
        """The samples of one turn."""
        mean_s = sum(self._took_s) / len(self._took_s) if self._took_s else TURN_S
        left = minutes_left(mean_s * self._left)
        self._status.update(f"{self.title} {name}  {left}")
        began = time.monotonic()
        samples = turn()
        for sample in samples:
            line = f"{self.title}  {sample['contender']:11}{sample['streams']:5} streams"
            line += f"{sample['cpu_us_per_chunk']:7.1f} us/chunk{sample['chunks_per_s']:9,.0f} chunks/s"
            together = "at once  " if len(samples) > 1 else ""
            self._console.print(f"{line}  {together}{left}", highlight=False, soft_wrap=True)
        self._took_s.append(time.monotonic() - began)
        self._left -= 1
        return samples
