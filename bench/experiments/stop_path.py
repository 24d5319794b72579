"""`python -m bench stop-path`: each push beside a client that hangs up, in the same rounds; the services stay up."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.analysis import health
from bench.analysis.chat_outcome import JSON_NAMES, OTHER_WORKER
from bench.analysis.metrics import measure
from bench.experiments.stop_path_goals import aims_of, problems_of
from bench.load.driver import expected_s, processes_for
from bench.record.writer import FolderError, utc_now
from bench.run.instrument import FLOOR_CASE
from bench.run.meter import Measured, Subject
from bench.run.rig import Kept, Rig, describe, note_case, rig
from bench.run.subject import Side, describe_asgi, service_of
from bench.system.stores import Store, open_store
from bench.workload.plan import Case, store_of
from bench.workload.scenario import Scenario, load_scenarios
from bench.workload.schedule import orders
from bench.workload.strategies import DISCONNECT

# History of stop-path.json. Readers refuse a schema they do not know.
#   1  2026-11  rounds (stops_ms and counts by strategy), set_aside, floor_ms, aims, problems
SCHEMA = 1
FILE = "stop-path.json"
WORKERS = {DISCONNECT: 2, "memory-push": 1, "redis-push": 2, "postgres-push": 2}
PAIRS, QUICK_PAIRS = 5, 2
CHATS, QUICK_CHATS = 170, 60
"""In a round, all of them stopped. About half of the aborts land on the other worker, and a p99 needs 368 of those."""
RATE_PER_S = 60.0
AGAIN = 1
"""So many rounds more are measured of a scenario when the instrument was not well in some of its rounds."""
START_S = 4.0
"""About what a service takes to start and warm up."""
BETWEEN_S = 0.4
"""About what a load takes besides itself: to be told, and to settle."""
Row = Any


@dataclass(frozen=True)
class Asked:
    """What was asked for; `pairs` rounds of each scenario, every strategy once in each."""

    pairs: int
    quick: bool
    seed: int


def scenarios(*, quick: bool = False) -> list[Scenario]:
    """Tokens every 20 ms, every 100 ms, and a silent upstream; each counts only Stops of the other worker."""
    flowing, stalled = load_scenarios(["flowing", "stalled"])
    same: Row = {"rate_per_s": RATE_PER_S, "chats": QUICK_CHATS if quick else CHATS, "abort_share": 1.0}
    same |= {"count_only": OTHER_WORKER}
    every = "A token every {} ms; every counted Stop lands on the worker that does not own the chat."
    silent = "The upstream is silent; every counted Stop lands on the worker that does not own the chat."
    return [
        replace(flowing, name="stop-path-20ms", sentence=every.format(20), output_tokens=50, **same),
        replace(flowing, name="stop-path-100ms", sentence=every.format(100), itl_ms=100, output_tokens=13, **same),
        replace(stalled, name="stop-path-silent", sentence=silent, stall_ms=900, **same),
    ]


def case_of(strategy: str, scenario: Scenario) -> Case:
    """One worker owns every chat: there its own Stops count, under a name that says so."""
    workers = WORKERS[strategy]
    if workers == 1:
        scenario = replace(scenario, name=f"{scenario.name}-one-worker", count_only=None)
    return Case(strategy, scenario, workers)


def lasts_s(asked: Asked) -> float:
    """About how long all of it takes, in seconds."""
    cases = [case_of(strategy, each) for each in scenarios(quick=asked.quick) for strategy in WORKERS]
    one_round = sum(expected_s(case) + BETWEEN_S for case in [FLOOR_CASE, *cases])
    return START_S * len(WORKERS) + asked.pairs * one_round


def measure_stops(asked: Asked, results: Kept, say: Callable[[str], None], tell: Callable[[str], None]) -> Row:
    """Measure, and give the record; results/stop-path.json holds it from the first round on.

    `say` gets what is going on, `tell` a line per scenario and round. Raises StoreError, ChildError, FolderError.
    """
    plans = scenarios(quick=asked.quick)
    settings = {"pairs": asked.pairs, "workers": WORKERS, "strategies": list(WORKERS)}
    manifest = describe("stop-path", settings, seed=asked.seed, quick=asked.quick)
    manifest["instrument"] = {FLOOR_CASE.scenario.name: FLOOR_CASE.scenario.settings()}
    record: Row = {"schema": SCHEMA, "started": manifest["started_utc"], "folder": results.folder.name}
    record |= {key: manifest[key] for key in ("quick", "seed", "commit", "dirty", "host", "versions", "stores")}
    record |= {"pairs": asked.pairs, "workers": WORKERS, "scenarios": {each.name: each.settings() for each in plans}}
    record |= {"rounds": [], "set_aside": [], "floor_ms": []}
    began = time.monotonic()

    def left(what: str) -> None:
        left_s = max(0.0, lasts_s(asked) - (time.monotonic() - began))
        say(f"about {int(left_s) // 60}:{int(left_s) % 60:02d} left, {what}")

    try:
        with contextlib.ExitStack() as stack:
            most = processes_for([case_of(DISCONNECT, each) for each in plans])
            mine = stack.enter_context(rig(results, left, processes=most, seed=asked.seed))
            subjects = _started(stack, mine, results, manifest, left)
            rounds = {each.name: orders(list(WORKERS), asked.seed + place) for place, each in enumerate(plans)}
            for number in range(asked.pairs + AGAIN):
                wanting = [each for each in plans if number < asked.pairs or _well(record, each.name) < asked.pairs]
                if wanting:
                    mine.meter.measure(FLOOR_CASE, number, Subject(mine.mock, [Measured(Side(), results)]))
                    record["floor_ms"].append(_stops(results.rows, FLOOR_CASE)[0])
                for scenario in wanting:
                    order = next(rounds[scenario.name])
                    found = _round(mine, subjects, results, manifest, scenario=scenario, number=number, order=order)
                    record["set_aside" if found["ill"] else "rounds"].append(found)
                    tell(_line(found, asked.pairs))
                manifest["blocks"] = number + 1
                write(record, results.folder.parent)
        manifest["complete"] = True
    finally:
        manifest["ended_utc"] = utc_now()
        results.write_manifest(manifest)
    record |= {"ended": manifest["ended_utc"], "aims": aims_of(record), "problems": problems_of(record)}
    write(record, results.folder.parent)
    return record


def write(record: Row, folder: Path) -> Path:
    """Write stop-path.json, whole or not at all; returns its place. Raises FolderError."""
    place, scratch = folder / FILE, folder / f".{FILE}.part"
    try:
        scratch.write_text(json.dumps(record) + "\n", encoding="utf-8")
        scratch.replace(place)
    except OSError as error:
        raise FolderError(f"{place} cannot be written ({error.strerror or error}): choose another --results") from error
    return place


def _started(
    stack: contextlib.ExitStack, mine: Rig, results: Kept, manifest: Row, say: Callable[[str], None]
) -> dict[str, Subject]:
    """A service for each strategy, all of them running until the end: only the one that is asked has work to do."""
    namespace = f"stopwatch_bench_{secrets.token_hex(3)}"
    subjects = {}
    for strategy, workers in WORKERS.items():
        kind = store_of(strategy)
        store: Store | None = None
        if kind in ("redis", "postgres"):
            say(f"starting {kind}")
            store = stack.enter_context(open_store(kind))
            if store.how == "url":  # our own servers are gone with all they hold
                stack.callback(store.delete_namespace, namespace)
            manifest["stores"][kind] = {"name": store.name, "version": store.version, "how": store.how}
        say(f"starting the service with {strategy}")
        traces = mine.scratch / strategy
        log = results.logs / f"server-{strategy}.log"
        started = service_of(
            strategy, workers, side=Side(), store=store, namespace=namespace, mock=mine.mock, traces=traces, log=log
        )
        service = stack.enter_context(started)
        manifest["asgi"] = manifest["asgi"] or describe_asgi(service)
        subjects[strategy] = Subject(service, [Measured(Side(), results)], traces, store)
    return subjects


def _round(
    mine: Rig,
    subjects: dict[str, Subject],
    results: Kept,
    manifest: Row,
    *,
    scenario: Scenario,
    number: int,
    order: Sequence[str],
) -> Row:
    """Every strategy once; `ill` says why the instrument cannot be believed, whatever it measured."""
    found: Row = {"scenario": scenario.name, "round": number, "order": list(order), "ill": []}
    found |= {"stops_ms": {}, "counts": {}, "failed": {}}
    for strategy in order:
        case = case_of(strategy, scenario)
        note_case(manifest, case)
        results.write_manifest(manifest)
        mine.meter.measure(case, number, subjects[strategy])
        stops_ms, counts, failed = _stops(results.rows, case)
        found["stops_ms"][strategy], found["counts"][strategy], found["failed"][strategy] = stops_ms, counts, failed
        found["ill"] += [f"{strategy}: {each}" for each in health.problems(results.case)]
        if dropped := results.case["dropped"]:
            found["ill"].append(f"{strategy}: the load could not send {dropped} chats")
    return found


def _stops(rows: Sequence[Row], case: Case) -> tuple[list[float], dict[str, int], list[str]]:
    """upstream_stop_ms of every counted Stop, how many chats there are of each kind, and what failed, in words."""
    chats = [measure(row, case.scenario.settings()) for row in rows]
    counts = Counter(JSON_NAMES.get(each.outcome, each.outcome) for each in chats)
    counts |= Counter({"wrong_stop": sum(each.wrong_stop for each in chats), "leaked": sum(e.leaked for e in chats)})
    stops_ms = [each.upstream_stop_ms for each in chats if each.upstream_stop_ms is not None]
    return stops_ms, dict(counts), [each.error for each in chats if each.error is not None]


def _well(record: Row, scenario: str) -> int:
    return sum(each["scenario"] == scenario for each in record["rounds"])


def _line(found: Row, pairs: int) -> str:
    place = f"round {found['round'] + 1}/{pairs}" if found["round"] < pairs else "again"
    line = f"{place:9}  {found['scenario'].removeprefix('stop-path-'):7}"
    for strategy in WORKERS:
        stops_ms = sorted(found["stops_ms"][strategy])
        line += f"  {strategy} {stops_ms[len(stops_ms) // 2]:.2f}" if stops_ms else f"  {strategy} -"
    return f"{line}  set aside: {found['ill'][0]}" if found["ill"] else f"{line}  ms at p50"
