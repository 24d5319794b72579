"""The fairness card of each strategy: under which conditions it was measured, and how to disagree with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.reading import of_run
from bench.report.formatting import Case, join, span
from bench.report.tables import Table
from bench.workload.strategies import is_special, strategy_rank

# Facts of our own backends, which bench may not import; tests/bench/report/test_fairness.py holds them to the code.
COMMANDS = {
    "postgres": "at most 10 connections for commands per worker",
    "redis": "one connection for commands per worker, which all of them share",
}
INTERVAL_MS = 100.0
DRIVERS = {"postgres": "asyncpg", "redis": "redis"}
KEPT = {
    "memory": "in the worker's own memory; nothing outside that worker knows of it",
    "postgres": "an unlogged table, written without waiting for the disk (synchronous_commit off)",
    "redis": "a key with an expiry; our own server keeps it in memory only (no snapshots, no append-only file)",
}
HOW = {
    "poll": "the flag is read before every chunk is forwarded; no listener",
    "timer": "one batched read per interval for all streams of a worker; no listener",
    "push": "the store tells the owning worker; after a lost connection it subscribes again, then re-reads all flags",
}
LIVES = (
    ("memory", "lost with its chats", "there is no store", "there is no store"),
    ("postgres", "its chats end; flags expire", "kept", "emptied; workers record live chats and accepted aborts again"),
    ("redis", "its chats end; flags expire", "lost (ours), or as your server is set up",
     "lost; workers record live chats and accepted aborts again"),
)  # fmt: skip
DISAGREE = (
    "Measure your own server: REDIS_URL or DATABASE_URL names it, with its durability, its network and its version.",
    "Change a setting of the service (ABORT_INTERVAL_MS, ABORT_TTL_S and others) in the environment of the run.",
    "Bring your own load: a scenario is a small TOML file, make bench SCENARIO=my.toml.",
    "Check our sums: every stamp lies in chats.jsonl.gz beside this page, and make report draws it again from there.",
    "Still wrong? Open an issue with the results folder; a better setting for a strategy is a welcome change.",
)


@dataclass(frozen=True)
class Card:
    """One strategy and its conditions, as name and text."""

    strategy: str
    facts: tuple[tuple[str, str], ...]


def cards_of(cases: Sequence[Case], manifest: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Card]:
    """A card for each strategy of the summary's `cases`; `rows` are those of cases.jsonl, with what was counted."""
    names = {case["strategy"] for case in cases if not is_special(case["scenario"])}
    return [
        Card(name, tuple(_facts(name, [case for case in cases if case["strategy"] == name], manifest, rows)))
        for name in sorted(names, key=strategy_rank)
    ]


def lives_table() -> Table:
    """What becomes of an abort flag when something restarts: facts of the design, not of this run."""
    heads = ("flag kept in", "a worker ends", "the store restarts in order", "the store crashes")
    sentence = "How our backends are built; whether it holds is what the scenario outage measures."
    return Table("What a flag survives", sentence, heads, [*LIVES], text=True)


def _facts(
    strategy: str, cases: Sequence[Case], manifest: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    store, delivery = cases[0]["store"], cases[0]["delivery"]
    facts = [("measured", f"{_workers(cases)}, {join(list(dict.fromkeys(case['scenario'] for case in cases)))}")]
    if delivery is None:
        words = {"disconnect": "the client hangs up; no store, no second request", "none": "aborts are never delivered"}
        return [*facts, ("abort", words.get(strategy, "unknown to this report"))]
    if delivery in HOW:
        facts.append(("delivery", HOW[delivery]))
    if store in KEPT:
        facts.append(("flag", KEPT[store]))
    if delivery == "timer":
        facts.append(("interval", _interval(manifest)))
    server = (manifest.get("stores") or {}).get(store) or {}
    if server:
        facts.append(("store", f"{server.get('name')} {server.get('version')} ({server.get('how')})"))
    if store in DRIVERS and (version := (manifest.get("versions") or {}).get(DRIVERS[store])):
        facts.append(("driver", f"{DRIVERS[store]} {version}"))
    if store in COMMANDS:
        facts.append(("pool", COMMANDS[store] + ("; another to listen" if delivery == "push" else "")))
        held = [
            int(row["connections"])
            for row in rows
            if row["strategy"] == strategy and row.get("connections") is not None
        ]
        facts.append(("connections held", f"{span(held)} at the end of a load" if held else "not counted in this run"))
    return facts


def _interval(manifest: Mapping[str, Any]) -> str:
    """What the environment of the run said, else the service's default; an old record does not keep the former."""
    service = of_run(manifest)
    if service is None:
        return f"{INTERVAL_MS:g} ms by default; this record does not keep what the environment said"
    given = service.get("ABORT_INTERVAL_MS")
    return f"{INTERVAL_MS:g} ms (the default)" if given is None else f"{float(given):g} ms (ABORT_INTERVAL_MS)"


def _workers(cases: Sequence[Case]) -> str:
    numbers = sorted({case["workers"] for case in cases})
    return f"{join([str(number) for number in numbers])} worker{'s' if numbers != [1] else ''}"
