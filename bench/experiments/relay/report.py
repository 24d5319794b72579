"""The results of `relay`: medians, ratios of rounds, the tables, and the content of relay.json."""

from rich.table import Table

from bench.analysis.health import MAX_CPU_SHARE
from bench.experiments.frame import provenance
from bench.experiments.goals import judge, of_rounds, spread_of
from bench.experiments.tables import Row, lines, written
from bench.record.host import utc_now

OURS = ("none", "redis-push", "redis-poll")
CONTENDERS = ("bare", "naive", *OURS)
PAIR = ("none", "redis-push")
"""The price of a chat without an abort: they differ by a few per cent, so they are also loaded at the same time."""
RATIOS = {
    "redis-push / bare": ("rounds", "<=", 1.4),
    "naive / redis-push": ("rounds", ">=", 3.5),
    "redis-push / none": ("together", "<=", 1.03),
    "redis-poll / none": ("rounds", "", 0.0),
    "none / bare": ("rounds", "", 0.0),
    "redis-push / none, ITL p99": ("together", "<=", 1.03),
    "naive / redis-push, light": ("light", ">=", 3.5),
}
"""Of the CPU time per chunk, unless named otherwise: the samples to take it from, and its goal if it has one."""
FAULTS = {"errors": "were refused or ended early", "silent": "had no answer"}
HELD_GOAL_MS = 10.0


def summarise(samples: dict[str, list[list[Row]]], held: Row | None, settings: Row) -> Row:
    """The content of relay.json. `samples` of each round: `rounds` one per contender, `together` one of each of PAIR
    (more of these than rounds), `light` the naive relay and redis-push with few streams.
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
        **{fault: sum(each[fault] for each in own) for fault in FAULTS},
        "load_cpu": max(each["client_cpu"] for each in own),
    }


def _ratio(title: str, rounds: list[dict[str, Row]], itl_ms: float) -> Row:
    """`above / below` in each round, its interval, the doubts about it, and the verdict on its goal."""
    above, below = title.partition(",")[0].split(" / ")
    _, sign, goal = RATIOS[title]

    def value(sample: Row) -> float:
        return float(sample["added_itl_ms"]["p99"] + itl_ms if "ITL" in title else sample["cpu_us_per_chunk"])

    doubts = [doubt for name in (above, below) for doubt in _doubts(name, [each[name] for each in rounds])]
    found = of_rounds([value(each[above]) / value(each[below]) for each in rounds])
    verdict = judge(found["ci95"], goal, at_least=sign == ">=") if sign else None
    return found | {"n": len(rounds), "doubts": doubts, "verdict": "not claimable" if doubts else verdict}


def _doubts(name: str, own: list[Row]) -> list[str]:
    """Why no figure of this contender may be claimed."""
    all_rounds, streams = _contender(own), sum(each["streams"] for each in own)
    doubts = [
        f"{name}: {all_rounds[fault]:,} of {streams:,} streams {text}"
        for fault, text in FAULTS.items()
        if all_rounds[fault]
    ]
    if all_rounds["load_cpu"] > MAX_CPU_SHARE:
        doubts.append(f"{name}: the load used {all_rounds['load_cpu']:.0%} of a core (limit {MAX_CPU_SHARE:.0%})")
    return doubts


def contenders_table(summary: Row) -> Table:
    """One line per contender: median (min..max) over the rounds."""
    return written("contenders", settings=summary["settings"], contenders=summary["contenders"])


def ratios_table(summary: Row) -> Table:
    """The ratios of the rounds, their interval, and whether the goal is met, missed or undecided."""
    return written("ratios", settings=summary["settings"], ratios=summary["ratios"], goals=RATIOS)


def held_lines(held: Row) -> list[str]:
    """The result of one worker with many live streams."""
    errors = held["errors"] + held["silent"]
    met = held["added_itl_ms"]["p99"] < HELD_GOAL_MS and not errors and not held["unstopped"]
    return lines("held", held=held, errors=errors, verdict="met" if met else "missed", goal_ms=HELD_GOAL_MS)
