"""Measures the knee of strategies: each probe is a few seconds of load at one rate; writes knee.json."""

import contextlib
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.experiments.frame import Bench, instrument_problems, measured_chats, measuring, write_json
from bench.experiments.knee import REPEATS, Knee, Probe, find_knee, rates
from bench.experiments.tables import Row, figure
from bench.load.driver import MAX_CHUNKS_PER_S, MOST_PROCESSES
from bench.record.host import describe_host
from bench.record.manifest import ScenarioSettings
from bench.record.schema import CaseRow, ChatRow
from bench.run.meter import settings_of
from bench.run.rig import Kept, Say
from bench.workload.plan import Case, store_of
from bench.workload.scenario import Scenario, load_scenarios

FIRST_PER_S = 50
"""The rate of `flowing` itself: a strategy's own p99 is measured there."""
ENOUGH_CHATS, PROBE_S = 400, 4.0
"""370 of them are stopped, and a p99 needs 368 for its interval."""
QUICK_CHATS, QUICK_S = 150, 2.0
FILE = "knee.json"


@dataclass(frozen=True)
class Request:
    """The options of a measurement of knees; `minutes` is for each strategy."""

    backend: str
    strategies: Sequence[str]
    workers: int
    limit_ms: float
    minutes: float
    quick: bool
    seed: int


def scenario_at(rate: int, *, quick: bool = False) -> Scenario:
    """The scenario `flowing` at another rate, chats/s; it has no limit of live chats, so none is dropped."""
    chats = round(max(QUICK_CHATS, rate * QUICK_S) if quick else max(ENOUGH_CHATS, rate * PROBE_S))
    flowing = load_scenarios(["flowing"])[0]
    return replace(flowing, name=f"knee-{rate}", rate_per_s=float(rate), chats=chats, streams=chats)


def all_rates() -> list[int]:
    """The rates that may be tried: up to the limit of a load with a process for each core (at least two).

    More processes would not send more: they share the cores with each other, with the mock and with the service.
    """
    most = min(MOST_PROCESSES, max(2, describe_host().cpus or 2))
    chunks_per_chat = scenario_at(FIRST_PER_S).chunks_per_s / FIRST_PER_S
    return rates(FIRST_PER_S, most * MAX_CHUNKS_PER_S / chunks_per_chat)


def measure_knees(request: Request, results: Kept, say: Say, log: Say) -> list[Row]:
    """Measure the strategies one after the other; knee.json grows with each. Returns its rows.

    `say` gets the current step, `log` a line per probe. A strategy over memory gets one worker: with more it loses
    aborts at any rate. Raises StoreError or ChildError; finished strategies are kept.
    """
    at = all_rates()
    names = ("backend", "workers", "limit_ms", "minutes", "strategies")
    settings = {name: getattr(request, name) for name in names}
    largest = Case(request.strategies[0], scenario_at(at[-1], quick=request.quick), request.workers)
    label, quick, seed = f"knee-{request.backend}", request.quick, request.seed
    points: list[Row] = []
    with measuring(results, say, label, settings, [largest], seed=seed, quick=quick) as bench:
        for strategy in request.strategies:
            bench.store(strategy)  # one that does not start ends the command before it has measured for minutes
        for strategy in request.strategies:
            points.append(as_point(strategy, _measure_knee(bench, strategy, request, at, log)))
            write_json(results.folder / FILE, points)
    return points


def _measure_knee(bench: Bench, strategy: str, request: Request, at: Sequence[int], log: Say) -> Knee:
    workers = 1 if store_of(strategy) == "memory" else request.workers
    blocks: Counter[int] = Counter()
    with contextlib.ExitStack() as stack:
        subject = bench.start(strategy, workers, stack)
        deadline = time.monotonic() + 60 * request.minutes

        def probe(rate: int) -> Probe:
            case = Case(strategy, scenario_at(rate, quick=request.quick), workers)
            rows, line = bench.measure(case, blocks[rate], subject)
            blocks[rate] += 1
            found = probe_of(rows, line, settings_of(case))
            counts = f"missed {found.missed:3}  failed {found.failed:3}"
            text = f"{strategy:15} {rate:4} chats/s  p99 stop {figure(found.p99_ms, '.1f'):>7} ms  {counts}"
            log(f"{text}  not counted: {found.unhealthy[0]}" if found.unhealthy else text)
            return found

        slack_ms, repeats = request.limit_ms, 0 if request.quick else REPEATS
        return find_knee(probe, at, slack_ms=slack_ms, repeats=repeats, more=lambda: time.monotonic() < deadline)


def add_to(folder: Path, points: Sequence[Row]) -> None:
    """Put these rows into the knee.json of a run's folder, in place of older ones of the same strategies.

    Raises OSError or ValueError.
    """
    path = folder / FILE
    known = {row["strategy"]: row for row in (json.loads(path.read_text(encoding="utf-8")) if path.exists() else [])}
    write_json(path, list((known | {row["strategy"]: row for row in points}).values()))


def as_point(strategy: str, knee: Knee) -> Row:
    """A row of knee.json; `ci95` is of `aborts_per_s`; `at_least` and `chats_shown`: Knee's `censored` and `shown`."""
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


def probe_of(rows: Sequence[ChatRow], case: CaseRow, settings: ScenarioSettings) -> Probe:
    """The probe that a measured case makes: pure."""
    chats, stops_ms, outcomes = measured_chats(rows, settings)
    return Probe(
        p99_ms=statistics.quantiles(stops_ms, n=100, method="inclusive")[98] if len(stops_ms) > 1 else None,
        chats=len(chats),
        missed=outcomes["missed"],
        failed=outcomes["refused"] + outcomes["rejected"] + sum(each.error is not None for each in chats),
        unhealthy=tuple(instrument_problems(case)),
    )
