"""The conditions under which each strategy was measured, and what an abort flag survives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.record.manifest import Manifest, StoreInfo
from bench.record.schema import CaseRow
from bench.record.summary import SummaryCase
from bench.report.cases import names_of
from bench.report.formatting import listed, span
from bench.report.pages import Table, terms
from bench.workload.strategies import is_special

INTERVAL_MS = 100.0  # the backends' default, which bench must not import
DRIVERS = {"postgres": "asyncpg", "redis": "redis"}


@dataclass(frozen=True)
class Card:
    """One strategy and its conditions, as name and text."""

    strategy: str
    facts: tuple[tuple[str, str], ...]


def cards_of(cases: Sequence[SummaryCase], manifest: Manifest, rows: Sequence[CaseRow]) -> list[Card]:
    """A card for each strategy of the summary's `cases`; `rows` of cases.jsonl have the connections."""
    ours = [case for case in cases if not is_special(case.scenario)]
    return [
        Card(name, tuple(_facts([case for case in ours if case.strategy == name], manifest, rows)))
        for name in names_of(ours)
    ]


def lives_table() -> Table:
    """What an abort flag survives: facts of the design, not of this run."""
    heads = ("flag kept in", "a worker ends", "the store restarts in order", "the store crashes")
    sentence = "How our backends are built; the scenario outage measures whether it holds."
    return Table("What a flag survives", sentence, heads, terms("conditions", "lives"), text=True)


def _facts(cases: Sequence[SummaryCase], manifest: Manifest, rows: Sequence[CaseRow]) -> list[tuple[str, str]]:
    strategy, store, delivery = cases[0].strategy, cases[0].store, cases[0].delivery
    workers = sorted({case.workers for case in cases})
    scenarios = listed(list(dict.fromkeys(case.scenario for case in cases)))
    facts = [("measured", f"{listed(workers)} worker{'s' if workers != [1] else ''}, {scenarios}")]
    server, driver = manifest.stores.get(store or "", StoreInfo()), DRIVERS.get(store or "", "")
    held = [
        row.connections
        for row in rows
        if row.strategy == strategy and row.connections is not None and row.connections >= 0
    ]
    found = {
        "abort": terms("conditions", "without").get(strategy, "unknown to this report") if delivery is None else None,
        "delivery": terms("conditions", "how").get(delivery),
        "flag": terms("conditions", "kept").get(store) if delivery else None,
        "interval": _interval(manifest) if delivery == "timer" else None,
        "store": f"{server.name} {server.version} ({server.how})" if server.name else None,
        "driver": f"{driver} {manifest.versions[driver]}" if driver in manifest.versions else None,
    }
    if pool := terms("conditions", "commands").get(store):
        found["pool"] = pool + ("; another to listen" if delivery == "push" else "")
        # A store that was restarted during the run counts from 0 again, which gives negative numbers.
        found["connections held"] = f"{span(held)} at the end of a load" if held else "not counted in this run"
    return [*facts, *((name, text) for name, text in found.items() if text)]


def _interval(manifest: Manifest) -> str:
    """From the environment of the run, else the service's default; older runs did not record the environment."""
    service = manifest.service_environment
    if service is None:
        return f"{INTERVAL_MS:g} ms by default; this run did not record its environment"
    given = service.get("ABORT_INTERVAL_MS")
    return f"{INTERVAL_MS:g} ms (the default)" if given is None else f"{float(given):g} ms (ABORT_INTERVAL_MS)"
