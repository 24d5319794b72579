"""What the relay's samples mean: medians, ratios round by round, the tables, and `results/relay.json`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.records import describe_commit, describe_host, describe_versions, utc_now

Row = dict[str, Any]
CONTENDERS = ("bare", "naive", "none", "redis-push", "redis-poll")
RATIOS = {
    "redis-push / bare": ("redis-push", "bare", "at most", 1.4),
    "naive / redis-push": ("naive", "redis-push", "at least", 3.5),
    "redis-push / none": ("redis-push", "none", "at most", 1.03),
    "redis-poll / none": ("redis-poll", "none", "", 0.0),
    "none / bare": ("none", "bare", "", 0.0),
}
"""CPU per chunk: above, below, and the aim if there is one."""
ITL_AIM = 1.03
HELD_AIM_MS = 10.0


def spread(values: list[float]) -> Row:
    """Median, min and max."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def summarise(rounds: list[list[Row]], held: Row | None, settings: Row) -> Row:
    """The content of relay.json. `rounds`: the samples of each round, one per contender."""
    by_round = [{sample["contender"]: sample for sample in samples} for samples in rounds]
    contenders = {
        name: {
            "cpu_us_per_chunk": spread([turn[name]["cpu_us_per_chunk"] for turn in by_round]),
            "chunks_per_s": spread([turn[name]["chunks_per_s"] for turn in by_round]),
            "added_itl_p50_ms": spread([turn[name]["added_itl_ms"]["p50"] for turn in by_round]),
            "added_itl_p99_ms": spread([turn[name]["added_itl_ms"]["p99"] for turn in by_round]),
            "errors": sum(turn[name]["errors"] for turn in by_round),
        }
        for name in CONTENDERS
    }
    itl_ms = settings["itl_ms"]
    ratios = {
        title: spread([turn[above]["cpu_us_per_chunk"] / turn[below]["cpu_us_per_chunk"] for turn in by_round])
        for title, (above, below, _, _) in RATIOS.items()
    }
    ratios["redis-push / none, ITL p99"] = spread(
        [_itl_p99(turn["redis-push"], itl_ms) / _itl_p99(turn["none"], itl_ms) for turn in by_round]
    )
    commit, dirty = describe_commit()
    return {
        "schema": 1,
        "date": utc_now(),
        "settings": settings,
        "contenders": contenders,
        "ratios": ratios,
        "held": held,
        "rounds": rounds,
        "commit": commit,
        "dirty": dirty,
        "host": describe_host(),
        "versions": describe_versions(),
    }


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
        f"{settings['itl_ms']:g} ms. silent: streams that had no answer yet, all rounds together",
        box=None,
        padding=(0, 1, 0, 0),  # fits 80 columns
    )
    table.add_column("contender", no_wrap=True)
    for name in ("CPU us\n/chunk", "chunks/s\n", "added p50\nms", "added p99\nms", "silent\n"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, each in summary["contenders"].items():
        table.add_row(
            name,
            _cell(each["cpu_us_per_chunk"], ".1f"),
            f"{each['chunks_per_s']['median']:,.0f}",
            f"{each['added_itl_p50_ms']['median']:.2f}",
            _cell(each["added_itl_p99_ms"], ".1f"),
            str(each["errors"]),
        )
    return table


def ratios_table(summary: Row) -> Table:
    """The ratios of each round, and whether the median reached the aim."""
    table = Table("ratio", title="CPU per chunk, compared within each round", box=None, padding=(0, 1, 0, 0))
    for name in ("median (min..max)", "aim", ""):
        table.add_column(name, justify="right", no_wrap=True)
    aims = {title: (words, aim) for title, (_, _, words, aim) in RATIOS.items()}
    aims["redis-push / none, ITL p99"] = ("at most", ITL_AIM)
    for title, each in summary["ratios"].items():
        words, aim = aims[title]
        reached = each["median"] <= aim if words == "at most" else each["median"] >= aim
        verdict = ("reached" if reached else "MISSED") if words else ""
        table.add_row(title, _cell(each, ".2f"), f"{words} {aim:g}" if words else "", verdict)
    return table


def held_lines(held: Row) -> list[str]:
    """What one worker with many live streams did, in words."""
    p99_ms = held["added_itl_ms"]["p99"]
    verdict = "reached" if p99_ms < HELD_AIM_MS and not held["errors"] and not held["unstopped"] else "MISSED"
    client, upstream = held["client_stop_ms"], held["upstream_stop_ms"]
    return [
        f"One worker, {held['streams']:,} live streams, a chunk every {held['itl_ms']:g} ms (redis-push): "
        f"{held['errors']} errors, p99 added {p99_ms:.1f} ms (aim: none, under {HELD_AIM_MS:g} ms: {verdict}), "
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
