"""Measures the knee of strategies: real probes, each a few seconds of load at one rate, and what is written of them."""

from __future__ import annotations

import contextlib
import json
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.analysis import health
from bench.analysis.metrics import measure
from bench.experiments.knee import REPEATS, Knee, Probe, find_knee, rates
from bench.load.driver import MAX_CHUNKS_PER_S, MOST_PROCESSES, processes_for
from bench.record.writer import describe_host, utc_now
from bench.run.meter import Measured, Subject
from bench.run.rig import Kept, Rig, Row, Say, describe, note_case, rig
from bench.run.subject import Side, describe_asgi, service_of
from bench.system.stores import Store, open_store
from bench.workload.plan import Case, store_of
from bench.workload.scenario import Scenario, load_scenarios

FIRST_PER_S = 50
"""The rate of `flowing` itself: what a strategy's own p99 is there, it is by design."""
ENOUGH_CHATS = 400
"""370 of them are stopped, and a p99 needs 368 for its interval."""
PROBE_S = 4.0
QUICK_CHATS, QUICK_S = 150, 2.0
FILE = "knee.json"


@dataclass(frozen=True)
class Asked:
    """What a measurement of knees was asked for; `minutes` is for each strategy."""

    backend: str
    strategies: Sequence[str]
    workers: int
    limit_ms: float
    minutes: float
    quick: bool
    seed: int


def scenario_at(rate: int, *, quick: bool = False) -> Scenario:
    """The scenario `flowing` at another rate, chats/s; no limit on how many live at a time, so none is dropped."""
    chats = round(max(QUICK_CHATS, rate * QUICK_S) if quick else max(ENOUGH_CHATS, rate * PROBE_S))
    flowing = load_scenarios(["flowing"])[0]
    return replace(flowing, name=f"knee-{rate}", rate_per_s=float(rate), chats=chats, streams=chats)


def all_rates() -> list[int]:
    """The rates that may be tried: up to what the load may be offered, with a process for each core (at least two).

    More processes would not send more: they share the cores with each other, with the mock and with the service.
    """
    most = min(MOST_PROCESSES, max(2, describe_host()["cpus"]))
    a_chat = scenario_at(FIRST_PER_S).chunks_per_s / FIRST_PER_S
    return rates(FIRST_PER_S, most * MAX_CHUNKS_PER_S / a_chat)


def measure_knees(asked: Asked, results: Kept, say: Say, tell: Callable[[str], None]) -> list[Row]:
    """Measure the strategies one after the other; knee.json grows with each. Gives its rows.

    `say` gets what is going on, `tell` a line for every probe. A strategy over memory is measured with one worker:
    with more it loses aborts at any rate. Raises StoreError or ChildError; what was finished stays.
    """
    at = all_rates()
    settings = {"backend": asked.backend, "workers": asked.workers, "limit_ms": asked.limit_ms}
    settings |= {"minutes": asked.minutes, "strategies": list(asked.strategies)}
    manifest = describe(f"knee-{asked.backend}", settings, seed=asked.seed, quick=asked.quick)
    points: list[Row] = []
    try:
        with contextlib.ExitStack() as stack:
            stores: dict[str, Store] = {}
            namespace = f"stopwatch_bench_{secrets.token_hex(3)}"
            for kind in sorted({store_of(name) or "" for name in asked.strategies} & {"redis", "postgres"}):
                say(f"starting {kind}")
                opened = stores[kind] = stack.enter_context(open_store(kind))
                if opened.how == "url":  # our own servers are gone with all they hold
                    stack.callback(opened.delete_namespace, namespace)
                manifest["stores"][kind] = opened.describe()
            largest = Case(asked.strategies[0], scenario_at(at[-1], quick=asked.quick), asked.workers)
            mine = stack.enter_context(rig(results, say, processes=processes_for([largest]), seed=asked.seed))
            for strategy in asked.strategies:
                with _prober(
                    asked,
                    strategy=strategy,
                    results=results,
                    mine=mine,
                    store=stores.get(store_of(strategy) or ""),
                    namespace=namespace,
                    manifest=manifest,
                    say=say,
                    tell=tell,
                ) as probe:
                    began = time.monotonic()
                    knee = find_knee(
                        probe,
                        at,
                        slack_ms=asked.limit_ms,
                        repeats=0 if asked.quick else REPEATS,
                        more=lambda began=began: time.monotonic() - began < 60 * asked.minutes,  # type: ignore[misc]
                    )
                points.append(as_point(strategy, knee))
                (results.folder / FILE).write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")
        manifest["complete"] = True
    finally:
        manifest["ended_utc"] = utc_now()
        results.write_manifest(manifest)
    return points


def add_to(folder: Path, points: Sequence[Row]) -> None:
    """Put these rows into the knee.json of a run's folder, in place of older ones of the same strategies.

    Raises OSError or ValueError.
    """
    path = folder / FILE
    known = {row["strategy"]: row for row in (json.loads(path.read_text(encoding="utf-8")) if path.exists() else [])}
    known |= {row["strategy"]: row for row in points}
    scratch = path.with_name(f".{FILE}.part")
    scratch.write_text(json.dumps(list(known.values()), indent=1) + "\n", encoding="utf-8")
    scratch.replace(path)


def as_point(strategy: str, knee: Knee) -> Row:
    """A row of knee.json; `ci95` is that of `aborts_per_s`, and `at_least` is true where the knee lies beyond.

    `chats_shown`: see bench.experiments.knee.Knee.shown.
    """
    share = scenario_at(FIRST_PER_S).abort_share
    return {
        "strategy": strategy,
        "aborts_per_s": round(knee.chats_per_s * share, 1),
        "chats_per_s": knee.chats_per_s,
        "ci95": [round(end * share, 1) for end in knee.ci95] if knee.ci95 else None,
        "chats_ci95": list(knee.ci95) if knee.ci95 else None,
        "limit_ms": knee.limit_ms,
        "ended_by": knee.ended_by,
        "at_least": knee.censored,
        "chats_shown": knee.shown,
        "why": knee.why,
    }


@contextlib.contextmanager
def _prober(
    asked: Asked,
    *,
    strategy: str,
    results: Kept,
    mine: Rig,
    store: Store | None,
    namespace: str,
    manifest: Row,
    say: Say,
    tell: Callable[[str], None],
) -> Iterator[Callable[[int], Probe]]:
    """A service with this strategy, and a function that probes it at a rate."""
    workers = 1 if store_of(strategy) == "memory" else asked.workers
    traces = mine.scratch / strategy
    seen: Counter[int] = Counter()
    say(f"starting the service with {strategy}")
    with service_of(
        strategy,
        workers,
        side=Side(),
        store=store,
        namespace=namespace,
        mock=mine.mock,
        traces=traces,
        log=results.logs / f"server-{strategy}.log",
    ) as service:
        manifest["asgi"] = manifest["asgi"] or describe_asgi(service)

        def probe(rate: int) -> Probe:
            case = Case(strategy, scenario_at(rate, quick=asked.quick), workers)
            note_case(manifest, case)
            results.write_manifest(manifest)
            subject = Subject(service, [Measured(Side(), results)], traces, store)
            mine.meter.measure(case, seen[rate], subject)
            seen[rate] += 1
            found = probe_of(results.rows, results.case, case.scenario.settings())
            tell(_line(strategy, rate, found))
            return found

        yield probe


def probe_of(rows: Sequence[Row], case: Row, settings: dict[str, Any]) -> Probe:
    """What a measured case says of its rate: pure."""
    chats = [measure(row, settings) for row in rows]
    stops_ms = [each.upstream_stop_ms for each in chats if each.upstream_stop_ms is not None]
    kinds = Counter(each.outcome for each in chats)
    ill = health.problems(case)
    if case["dropped"]:
        ill.append(f"the load could not send {case['dropped']} chats")
    return Probe(
        p99_ms=statistics.quantiles(stops_ms, n=100, method="inclusive")[98] if len(stops_ms) > 1 else None,
        chats=len(chats),
        missed=kinds["missed"],
        failed=kinds["refused"] + kinds["rejected"] + sum(each.error is not None for each in chats),
        ill=tuple(ill),
    )


def _line(strategy: str, rate: int, probe: Probe) -> str:
    p99 = "      -" if probe.p99_ms is None else f"{probe.p99_ms:7.1f}"
    line = f"{strategy:15} {rate:4} chats/s  p99 stop {p99} ms  missed {probe.missed:3}  failed {probe.failed:3}"
    return f"{line}  not counted: {probe.ill[0]}" if probe.ill else line
