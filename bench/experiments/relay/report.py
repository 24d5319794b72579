"""The results of `relay`: medians, ratios of rounds, the tables, and the content of relay.json."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from statistics import median

from rich.table import Table

from bench.analysis.health import MAX_CPU_SHARE
from bench.experiments.goals import judge, of_rounds
from bench.experiments.tables import Row, interval, table
from bench.record.host import describe_commit, describe_host, describe_versions, utc_now

OURS = ("none", "redis-push", "redis-poll")
CONTENDERS = ("bare", "naive", *OURS)
PAIR = ("none", "redis-push")
"""The price of a chat without an abort: they differ by a few per cent, so they are also loaded at the same time."""
ITL, LIGHT = "redis-push / none, ITL p99", "naive / redis-push, light"
GOALS = {
    "redis-push / bare": ("at most", 1.4),
    "naive / redis-push": ("at least", 3.5),
    "redis-push / none": ("at most", 1.03),
    ITL: ("at most", 1.03),
    LIGHT: ("at least", 3.5),
}
RATIOS = ("redis-push / bare", "naive / redis-push", "redis-push / none", "redis-poll / none", "none / bare")
"""CPU per chunk of one contender over that of another."""
HELD_GOAL_MS = 10.0
NOT_CLAIMABLE = "not claimable"
SIGNS = {"at most": "<=", "at least": ">="}


def summarise(samples: dict[str, list[list[Row]]], held: Row | None, settings: Row) -> Row:
    """The content of relay.json. `samples` of each round: `rounds` one per contender, `together` one of each of PAIR
    (more of these than rounds), `light` the naive relay and redis-push with few streams.
    """
    rounds, together, light = (
        [{sample["contender"]: sample for sample in each} for each in samples[part]]
        for part in ("rounds", "together", "light")
    )
    itl_ms = settings["itl_ms"]
    ratios = {
        name: _ratio(name, together if name == "redis-push / none" else rounds, itemgetter("cpu_us_per_chunk"))
        for name in RATIOS
    }
    ratios[ITL] = _ratio(ITL, together, lambda sample: float(sample["added_itl_ms"]["p99"]) + itl_ms)
    ratios[LIGHT] = _ratio(LIGHT, light, itemgetter("cpu_us_per_chunk"))
    commit, dirty = describe_commit()
    return {
        "schema": 1,
        "date": utc_now(),
        "settings": settings,
        "contenders": {name: _contender(name, rounds) for name in CONTENDERS},
        "ratios": ratios,
        "doubts": list(dict.fromkeys(doubt for each in ratios.values() for doubt in each["doubts"])),
        "held": held,
        **samples,
        "commit": commit,
        "dirty": dirty,
        "host": describe_host(),
        "versions": describe_versions(),
    }


def _contender(name: str, rounds: list[Row]) -> Row:
    own = [each[name] for each in rounds]
    values = {
        "cpu_us_per_chunk": [each["cpu_us_per_chunk"] for each in own],
        "chunks_per_s": [each["chunks_per_s"] for each in own],
        "added_itl_p50_ms": [each["added_itl_ms"]["p50"] for each in own],
        "added_itl_p99_ms": [each["added_itl_ms"]["p99"] for each in own],
    }
    spreads = {key: {"median": median(each), "min": min(each), "max": max(each)} for key, each in values.items()}
    return {**spreads, **_faults(name, rounds)}


def _ratio(title: str, rounds: list[Row], value: Callable[[Row], float]) -> Row:
    """`above / below` in each round, its interval, the doubts about it, and the verdict on its goal."""
    above, below = title.partition(",")[0].split(" / ")
    doubts = [doubt for name in (above, below) for doubt in _doubts(name, rounds)]
    found = of_rounds([value(each[above]) / value(each[below]) for each in rounds])
    verdict = None
    if goal := GOALS.get(title):
        verdict = judge(found["ci95"], goal[1], at_least=goal[0] == "at least")
    return found | {"n": len(rounds), "doubts": doubts, "verdict": NOT_CLAIMABLE if doubts else verdict}


def _faults(name: str, rounds: list[Row]) -> Row:
    """Streams refused or ended (errors), streams without an answer (silent), the load's CPU use."""
    own = [each[name] for each in rounds]
    return {
        "errors": sum(each["errors"] for each in own),
        "silent": sum(each["silent"] for each in own),
        "load_cpu": max(each["client_cpu"] for each in own),
    }


def _doubts(name: str, rounds: list[Row]) -> list[str]:
    """Why no figure of this contender may be claimed."""
    faults, streams = _faults(name, rounds), sum(each[name]["streams"] for each in rounds)
    doubts = [
        f"{name}: {faults[fault]:,} of {streams:,} streams {text}"
        for fault, text in (("errors", "were refused or ended early"), ("silent", "had no answer"))
        if faults[fault]
    ]
    if faults["load_cpu"] > MAX_CPU_SHARE:
        doubts.append(f"{name}: the load used {faults['load_cpu']:.0%} of a core (limit {MAX_CPU_SHARE:.0%})")
    return doubts


def contenders_table(summary: Row) -> Table:
    """One line per contender: median (min..max) over the rounds."""
    settings = summary["settings"]
    itl_ms = settings["itl_ms"]
    offered = settings["streams"] * 1000 / itl_ms
    caption = (
        f"median (min..max) of {settings['pairs']} rounds. added: the client's gap between chunks,\nminus "
        f"{itl_ms:g} ms. errors: streams refused or ended early;\nsilent: without an answer; load: the highest "
        "CPU use of the load, of a core"
    )
    names = ("CPU us\n/chunk", "chunks\n/s", "added\np50", "added p99\nms", "errors\n", "silent\n", "load\n")
    rows = [
        (
            name,
            _cell(each["cpu_us_per_chunk"], ".1f"),
            f"{each['chunks_per_s']['median']:,.0f}",
            f"{each['added_itl_p50_ms']['median']:.2f}",
            _cell(each["added_itl_p99_ms"], ".1f"),
            str(each["errors"]),
            str(each["silent"]),
            f"{each['load_cpu']:.0%}",
        )
        for name, each in summary["contenders"].items()
    ]
    title = f"{settings['streams']} streams, a chunk each {itl_ms:g} ms: {offered:,.0f} chunks/s offered"
    return table(title, ("<contender", *names), rows, caption)


def ratios_table(summary: Row) -> Table:
    """The ratios of the rounds, their interval, and whether the goal is met, missed or undecided."""
    settings = summary["settings"]
    caption = (
        f"[]: 95 %. redis-push / none: both loaded at once, with {settings['together_streams']} streams\n"
        f"each. light: {settings['light_streams']} streams, which the naive relay can carry"
    )
    rows = []
    for title, each in summary["ratios"].items():
        sign, goal = GOALS.get(title, ("", 0.0))
        ci = interval(each["ci95"], around="\\[{}..{}]", empty="")
        rows.append((title, _cell(each, ".2f"), ci, f"{SIGNS[sign]} {goal:g}" if sign else "", each["verdict"] or ""))
    columns = ("<ratio", "median (min..max)", "", "goal", "")
    return table("CPU per chunk, compared within each round", columns, rows, caption)


def held_lines(held: Row) -> list[str]:
    """The result of one worker with many live streams."""
    p99_ms = held["added_itl_ms"]["p99"]
    errors = held["errors"] + held["silent"]
    verdict = "met" if p99_ms < HELD_GOAL_MS and not errors and not held["unstopped"] else "missed"
    client, upstream = held["client_stop_ms"], held["upstream_stop_ms"]
    return [
        f"One worker, {held['streams']:,} live streams, a chunk every {held['itl_ms']:g} ms (redis-push): "
        f"{errors} errors, p99 added {p99_ms:.1f} ms (goal: none, under {HELD_GOAL_MS:g} ms: {verdict}), "
        f"{held['rss_kb_per_stream']:.0f} KB of memory per stream",
        f"All {held['streams']:,} stopped at once: {held['unstopped']} did not end; the slowest after "
        f"{_ms(client['max'])} at its client and {_ms(upstream['max'])} at the upstream "
        f"(p50 {_ms(client['p50'])} and {_ms(upstream['p50'])}, {held['upstreams_cut']} cut)",
    ]


def _cell(values: Row, form: str) -> str:
    return f"{values['median']:{form}} ({values['min']:{form}}..{values['max']:{form}})"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
