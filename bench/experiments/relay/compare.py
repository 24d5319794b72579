"""`python -m bench relay`: the cost of relaying one chunk, our service compared with other relays, turn by turn."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console

from bench.experiments.frame import write_json
from bench.experiments.relay.report import CONTENDERS, PAIR, contenders_table, held_lines, ratios_table, summarise
from bench.experiments.relay.turns import WINDOW_S, hold_and_stop, order, stage, take_turns
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
    turns, took_s = pairs * (len(CONTENDERS) + TOGETHER + len(LIGHT_PAIR)), list[float]()

    def print_line(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    def take(title: str, names: Sequence[str], count: int, window_s: float = WINDOW_S) -> list[Row]:
        left = minutes_left(fmean(took_s or [TURN_S]) * (turns - len(took_s)))
        status.update(f"{title} {' and '.join(names)}  {left}")
        began = time.monotonic()
        found = take_turns(on, names, streams=count, itl_ms=itl_ms, window_s=window_s)
        took_s.append(time.monotonic() - began)
        for sample in found:
            line = f"{title}  {sample['contender']:11}{sample['streams']:5} streams"
            line += f"{sample['cpu_us_per_chunk']:7.1f} us/chunk{sample['chunks_per_s']:9,.0f} chunks/s"
            print_line(f"{line}  {'at once  ' if len(found) > 1 else ''}{left}")
        return found

    with stage() as on, console.status("starting") as status:
        for number in range(pairs):
            title = f"round {number + 1}/{pairs}"
            samples["rounds"].append([take(title, [name], streams)[0] for name in order(number)])
            samples["together"] += [take(title, PAIR, shared, TOGETHER_S) for _ in range(TOGETHER)]
            samples["light"].append([take(title, [name], light)[0] for name in order(number, LIGHT_PAIR)])
        status.update(f"{held_streams:,} streams held, then stopped")
        held = hold_and_stop(on, streams=held_streams)
    summary = summarise(samples, held, settings)
    write_json(file, summary)
    console.print(contenders_table(summary), ratios_table(summary))
    for line in (*(f"not claimable: {doubt}" for doubt in summary["doubts"]), *held_lines(held)):
        print_line(line)
    print_line(f"every sample: {file}")
