"""What the relay's samples mean: medians, ratios round by round, the tables, and `results/relay.json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.analysis.health import MAX_CPU_SHARE
from bench.experiments.goals import judge, of_rounds
from bench.record.writer import describe_commit, describe_host, describe_versions, utc_now

Row = dict[str, Any]
CONTENDERS = ("bare", "naive", "none", "redis-push", "redis-poll")
PAIR = ("none", "redis-push")
"""What a chat that nobody stops pays: told apart by a few per cent, so these two are also loaded at the same time."""
RATIOS = {
    "redis-push / bare": ("redis-push", "bare", "at most", 1.4),
    "naive / redis-push": ("naive", "redis-push", "at least", 3.5),
    "redis-push / none": ("redis-push", "none", "at most", 1.03),
    "redis-poll / none": ("redis-poll", "none", "", 0.0),
    "none / bare": ("none", "bare", "", 0.0),
}
"""CPU per chunk: above, below, and the aim if there is one."""
ITL, LIGHT = "redis-push / none, ITL p99", "naive / redis-push, light"
AIMS = {title: (words, aim) for title, (_, _, words, aim) in RATIOS.items()}
AIMS |= {ITL: ("at most", 1.03), LIGHT: ("at least", 3.5)}
HELD_AIM_MS = 10.0
NOT_CLAIMABLE = "not claimable"


def spread(values: list[float]) -> Row:
    """Median, min and max."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def summarise(samples: dict[str, list[list[Row]]], held: Row | None, settings: Row) -> Row:
    """The content of relay.json. `samples` of each round: `rounds` one per contender, `together` one of each of PAIR
    (more of these than rounds), `light` the naive relay and redis-push with few streams.
    """
    rounds, together, light = ([_by_name(each) for each in samples[part]] for part in ("rounds", "together", "light"))
    contenders = {
        name: {
            "cpu_us_per_chunk": spread([turn[name]["cpu_us_per_chunk"] for turn in rounds]),
            "chunks_per_s": spread([turn[name]["chunks_per_s"] for turn in rounds]),
            "added_itl_p50_ms": spread([turn[name]["added_itl_ms"]["p50"] for turn in rounds]),
            "added_itl_p99_ms": spread([turn[name]["added_itl_ms"]["p99"] for turn in rounds]),
            **_faults(name, rounds),
        }
        for name in CONTENDERS
    }
    itl_ms = settings["itl_ms"]
    ratios = {}
    for title, (above, below, _, _) in RATIOS.items():
        turns = together if {above, below} == set(PAIR) else rounds
        ratios[title] = _ratio(title, (above, below), turns, _cpu)
    ratios[ITL] = _ratio(ITL, (PAIR[1], PAIR[0]), together, lambda turn: _itl_p99(turn, itl_ms))
    ratios[LIGHT] = _ratio(LIGHT, ("naive", "redis-push"), light, _cpu)
    commit, dirty = describe_commit()
    return {
        "schema": 1,
        "date": utc_now(),
        "settings": settings,
        "contenders": contenders,
        "ratios": ratios,
        "doubts": list(dict.fromkeys(doubt for each in ratios.values() for doubt in each["doubts"])),
        "held": held,
        **samples,
        "commit": commit,
        "dirty": dirty,
        "host": describe_host(),
        "versions": describe_versions(),
    }


def _ratio(title: str, names: tuple[str, str], turns: list[Row], value: Callable[[Row], float]) -> Row:
    """One side over the other in each round, its interval, what makes it doubtful, and the verdict on its aim."""
    above, below = names
    doubts = [doubt for name in names for doubt in _doubts(name, turns)]
    found = of_rounds([value(turn[above]) / value(turn[below]) for turn in turns]) | {"n": len(turns), "doubts": doubts}
    words, aim = AIMS[title]
    verdict = judge(found["ci95"], aim, at_least=words == "at least") if words else None
    return found | {"verdict": NOT_CLAIMABLE if doubts else verdict}


def _faults(name: str, turns: list[Row]) -> Row:
    """What must not be there: streams refused or ended (errors), streams without an answer, a load short of CPU."""
    own = [turn[name] for turn in turns]
    return {
        "errors": sum(each["errors"] for each in own),
        "silent": sum(each["silent"] for each in own),
        "load_cpu": max(each["client_cpu"] for each in own),
    }


def _doubts(name: str, turns: list[Row]) -> list[str]:
    """Why no figure of this contender may be claimed, in words."""
    faults, asked = _faults(name, turns), sum(turn[name]["streams"] for turn in turns)
    doubts = [
        f"{name}: {faults[kind]:,} of {asked:,} streams {words}"
        for kind, words in (("errors", "were refused or ended early"), ("silent", "had no answer"))
        if faults[kind]
    ]
    if faults["load_cpu"] > MAX_CPU_SHARE:
        doubts.append(f"{name}: the load used {faults['load_cpu']:.0%} of a core (allowed is {MAX_CPU_SHARE:.0%})")
    return doubts


def _by_name(samples: list[Row]) -> Row:
    return {sample["contender"]: sample for sample in samples}


def _cpu(sample: Row) -> float:
    return float(sample["cpu_us_per_chunk"])


def write(summary: Row, file: Path) -> None:
    """Write relay.json, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.part")
    scratch.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    scratch.replace(file)


def contenders_table(summary: Row) -> Table:
    """One line per contender: median (min..max) over the rounds."""
    settings = summary["settings"]
    offered = settings["streams"] * 1000 / settings["itl_ms"]
    table = Table(
        title=f"{settings['streams']} streams, a chunk each {settings['itl_ms']:g} ms: {offered:,.0f} chunks/s offered",
        caption=f"median (min..max) of {settings['pairs']} rounds. added: the client's gap between chunks,\nless "
        f"{settings['itl_ms']:g} ms. errors: streams refused or ended early;\nsilent: without "
        "an answer; load: the most that the load process took of a core",
        box=None,
        padding=(0, 1, 0, 0),  # fits 80 columns
    )
    table.add_column("contender", no_wrap=True)
    for name in ("CPU us\n/chunk", "chunks\n/s", "added\np50", "added p99\nms", "errors\n", "silent\n", "load\n"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, each in summary["contenders"].items():
        table.add_row(
            name,
            _cell(each["cpu_us_per_chunk"], ".1f"),
            f"{each['chunks_per_s']['median']:,.0f}",
            f"{each['added_itl_p50_ms']['median']:.2f}",
            _cell(each["added_itl_p99_ms"], ".1f"),
            str(each["errors"]),
            str(each["silent"]),
            f"{each['load_cpu']:.0%}",
        )
    return table


def ratios_table(summary: Row) -> Table:
    """The ratios of the rounds, their interval, and whether the aim was met, missed, or neither for sure."""
    settings = summary["settings"]
    table = Table(
        title="CPU per chunk, compared within each round",
        caption=f"[]: 95 %. redis-push / none: both loaded at once, with {settings['together_streams']} streams\n"
        f"each. light: {settings['light_streams']} streams, for the naive relay's sake",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("ratio", no_wrap=True)
    for name in ("median (min..max)", "", "aim", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for title, each in summary["ratios"].items():
        words, aim = AIMS[title]
        ends = each["ci95"]
        table.add_row(
            title,
            _cell(each, ".2f"),
            f"\\[{ends[0]:.2f}..{ends[1]:.2f}]" if ends else "",
            f"{'<=' if words == 'at most' else '>='} {aim:g}" if words else "",
            each["verdict"] or "",
        )
    return table


def held_lines(held: Row) -> list[str]:
    """What one worker with many live streams did, in words."""
    p99_ms = held["added_itl_ms"]["p99"]
    errors = held["errors"] + held["silent"]
    verdict = "met" if p99_ms < HELD_AIM_MS and not errors and not held["unstopped"] else "missed"
    client, upstream = held["client_stop_ms"], held["upstream_stop_ms"]
    return [
        f"One worker, {held['streams']:,} live streams, a chunk every {held['itl_ms']:g} ms (redis-push): "
        f"{errors} errors, p99 added {p99_ms:.1f} ms (aim: none, under {HELD_AIM_MS:g} ms: {verdict}), "
        f"{held['rss_kb_per_stream']:.0f} KB of memory per stream",
        f"All {held['streams']:,} stopped at once: {held['unstopped']} did not end; the slowest after "
        f"{_ms(client['max'])} at its client and {_ms(upstream['max'])} at the upstream "
        f"(p50 {_ms(client['p50'])} and {_ms(upstream['p50'])}, {held['upstreams_cut']} cut)",
    ]


def _itl_p99(sample: Row, itl_ms: float) -> float:
    return float(sample["added_itl_ms"]["p99"]) + itl_ms


def _cell(values: Row, form: str) -> str:
    return f"{values['median']:{form}} ({values['min']:{form}}..{values['max']:{form}})"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
