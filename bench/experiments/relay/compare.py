"""`python -m bench relay`: the cost of relaying one chunk, our service compared with other relays, turn by turn."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from bench.analysis.health import MAX_CPU_SHARE
from bench.experiments.frame import provenance, write_json
from bench.experiments.goals import judge, of_rounds, spread_of
from bench.experiments.relay.mass_stop import MASS_STREAMS, end_at_once, hold_and_end
from bench.experiments.relay.turns import CONTENDERS, PAIR, WINDOW_S, order, stage, take_turns
from bench.experiments.tables import Row, lines, minutes_left, written
from bench.record.host import utc_now

TURN_S = 7.0
"""About the time of one turn, until the first was measured."""
LIGHT_SHARE = 8
"""The naive relay cannot carry the offered load: it is also compared at this fraction of the streams."""
LIGHT_PAIR = ("naive", "redis-push")
SHARED = 4
"""Two loaded at once get a quarter of the streams each: half of the load of a single turn."""
TOGETHER, TOGETHER_S = 2, 4.0
"""How often in each round, and for how long."""
MASS_TURNS = 2
RATIOS = {
    "redis-push / bare": ("rounds", "<=", 1.4),
    "naive / redis-push": ("rounds", ">=", 3.5),
    "redis-push / none": ("together", "<=", 1.03),
    "redis-poll / none": ("rounds", "", 0.0),
    "none / bare": ("rounds", "", 0.0),
    "redis-push / none, ITL p99": ("together", "<=", 1.03),
    "naive / redis-push, light": ("light", ">=", 3.5),
    "stop / hang-up, last gone": ("mass", "<=", 2.0),
}
"""Of the CPU time per chunk, unless named otherwise: the samples to take it from, and its goal if it has one.

ITL p99: of the gaps between chunks. last gone: of the time from the first of many stops, or hang-ups, at once until the
upstream has lost the last connection.
"""
FAULTS = {
    "errors": "were refused or ended early",
    "silent": "had no answer",
    "uncut": "were still open upstream 10 s after their end",
}
HELD_GOAL_MS = 10.0


def compare(console: Console, file: Path, *, pairs: int, streams: int, itl_ms: float, held_streams: int) -> None:
    """Measure all contenders `pairs` times, in turns, then the many held streams; print it, and write `file`.

    In every round the pair with the smallest difference is also loaded at the same time, each with a quarter of the
    streams, the naive relay and redis-push once more at a load that both can carry, and MASS_STREAMS streams are ended
    at once in two ways. Raises RelayError, StoreError or ChildError; `file` then stays as it was.
    """
    light, shared = max(1, streams // LIGHT_SHARE), max(1, streams // SHARED)
    settings: Row = {"pairs": pairs, "streams": streams, "itl_ms": itl_ms, "held_streams": held_streams, "workers": 1}
    settings |= {
        "mass_streams": MASS_STREAMS,
        "light_streams": light,
        "together_streams": shared,
        "together_window_s": TOGETHER_S,
    }
    samples: dict[str, list[list[Row]]] = {"rounds": [], "together": [], "light": [], "mass": []}
    turns, took_s = pairs * (len(CONTENDERS) + TOGETHER + len(LIGHT_PAIR) + MASS_TURNS), list[float]()

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
            status.update(f"{title} {MASS_STREAMS:,} streams ended at once")
            samples["mass"].append(end_at_once(on, number))
            for line in lines("mass", ended=samples["mass"][-1]):
                print_line(f"{title}  {line}")
        status.update(f"{held_streams:,} streams held, then stopped")
        held = hold_and_end(on, streams=held_streams)
    summary = summarise(samples, held, settings)
    write_json(file, summary)
    console.print(*tables(summary))
    for line in (*(f"not claimable: {doubt}" for doubt in summary["doubts"]), *held_lines(held)):
        print_line(line)
    print_line(f"every sample: {file}")


def summarise(samples: dict[str, list[list[Row]]], held: Row | None, settings: Row) -> Row:
    """The content of relay.json. `samples` of each round: `rounds` one per contender, `together` one of each of PAIR
    (more of these than rounds), `light` the naive relay and redis-push with few streams, `mass` see `end_at_once`.
    """
    by_name = {part: [{each["contender"]: each for each in taken} for taken in samples[part]] for part in samples}
    ratios = {title: _ratio(title, by_name[part], settings["itl_ms"]) for title, (part, *_) in RATIOS.items()}
    return {
        "schema": 1,
        "date": utc_now(),
        "settings": settings,
        "contenders": {name: _contender([each[name] for each in by_name["rounds"]]) for name in CONTENDERS},
        "ratios": ratios,
        "doubts": list(dict.fromkeys(doubt for each in ratios.values() for doubt in each["doubts"])),
        "held": held,
        **samples,
        **provenance(),
    }


def _contender(own: list[Row]) -> Row:
    """A contender's samples of all rounds: their spreads, its faulty streams, and the load's highest CPU use."""
    return {
        **{key: spread_of([each[key] for each in own]) for key in ("cpu_us_per_chunk", "chunks_per_s")},
        **{f"added_itl_{at}_ms": spread_of([each["added_itl_ms"][at] for each in own]) for at in ("p50", "p99")},
        **_faults(own),
    }


def _ratio(title: str, rounds: list[dict[str, Row]], itl_ms: float) -> Row:
    """`above / below` in each round, its interval, the doubts about it, and the verdict on its goal."""
    above, below = title.partition(",")[0].split(" / ")
    _, sign, goal = RATIOS[title]

    def value(sample: Row) -> float:
        if "last gone" in title:
            return float(sample["upstream_stop_ms"]["max"])
        return float(sample["added_itl_ms"]["p99"] + itl_ms if "ITL" in title else sample["cpu_us_per_chunk"])

    doubts = [doubt for name in (above, below) for doubt in _doubts(name, [each[name] for each in rounds])]
    found = of_rounds([value(each[above]) / value(each[below]) for each in rounds])
    verdict = judge(found["ci95"], goal, at_least=sign == ">=") if sign else None
    return found | {"n": len(rounds), "doubts": doubts, "verdict": "not claimable" if doubts else verdict}


def _doubts(name: str, own: list[Row]) -> list[str]:
    """Why no figure of this contender may be claimed."""
    faults, streams = _faults(own), sum(each["streams"] for each in own)
    doubts = [
        f"{name}: {faults[fault]:,} of {streams:,} streams {text}" for fault, text in FAULTS.items() if faults[fault]
    ]
    if faults["load_cpu"] > MAX_CPU_SHARE:
        doubts.append(f"{name}: the load used {faults['load_cpu']:.0%} of a core (limit {MAX_CPU_SHARE:.0%})")
    return doubts


def _faults(own: list[Row]) -> Row:
    """The faulty streams of these samples, and the load's highest CPU use."""
    counts = {fault: sum(each.get(fault, 0) for each in own) for fault in FAULTS}
    return counts | {"load_cpu": max(each["client_cpu"] for each in own)}


def tables(summary: Row) -> Iterator[Table]:
    """A line per contender, over the rounds; and the ratios of the rounds, their intervals and goals."""
    settings = summary["settings"]
    yield written("contenders", settings=settings, contenders=summary["contenders"])
    yield written("ratios", settings=settings, ratios=summary["ratios"], goals=RATIOS)


def held_lines(held: Row) -> list[str]:
    """The result of one worker with many live streams."""
    errors = held["errors"] + held["silent"]
    met = held["added_itl_ms"]["p99"] < HELD_GOAL_MS and not errors and not held["unstopped"]
    return lines("held", held=held, errors=errors, verdict="met" if met else "missed", goal_ms=HELD_GOAL_MS)
