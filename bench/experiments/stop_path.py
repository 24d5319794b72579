"""`python -m bench stop-path`: each push compared with a client that hangs up, in the same rounds."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.analysis.chat_outcome import JSON_NAMES
from bench.experiments.frame import Bench, instrument_problems, measured_chats, measuring, write_json
from bench.experiments.stop_path_goals import goals_of, problems_of
from bench.experiments.tables import Row, figure, minutes_left
from bench.load.driver import expected_s
from bench.record.schema import ChatRow
from bench.run.instrument import FLOOR_CASE
from bench.run.meter import Subject, settings_of
from bench.run.rig import Kept, Say
from bench.workload.plan import Case
from bench.workload.scenario import Scenario, load_scenario
from bench.workload.schedule import orders
from bench.workload.strategies import DISCONNECT

# History of stop-path.json. Readers refuse other schemas.
#   1  2026-11  rounds (stops_ms and counts by strategy), set_aside, floor_ms, aims, problems
SCHEMA = 1
FILE = "stop-path.json"
SCENARIOS = Path(__file__).parent / "scenarios"
WORKERS = {DISCONNECT: 2, "memory-push": 1, "redis-push": 2, "postgres-push": 2}
PAIRS, QUICK_PAIRS = 5, 2
AGAIN = 1
"""Additional rounds of a scenario in which the instrument was unhealthy in some rounds."""
START_S, BETWEEN_S = 4.0, 0.4
"""About the time to start and warm up a service, and to prepare a load and let it settle."""


def scenarios(*, quick: bool = False) -> list[Scenario]:
    """Tokens every 20 ms, every 100 ms, and a silent upstream; each counts only aborts on the other worker."""
    return [load_scenario(SCENARIOS / f"stop-path-{name}.toml", quick=quick) for name in ("20ms", "100ms", "silent")]


def case_of(strategy: str, scenario: Scenario) -> Case:
    """The strategy in the scenario; with one worker all aborts count, and the scenario's name shows it."""
    workers = WORKERS[strategy]
    if workers == 1:
        scenario = replace(scenario, name=f"{scenario.name}-one-worker", count_only=None)
    return Case(strategy, scenario, workers)


def lasts_s(pairs: int, *, quick: bool) -> float:
    """About how long the whole measurement takes, in seconds."""
    cases = [case_of(strategy, each) for each in scenarios(quick=quick) for strategy in WORKERS]
    one_round = sum(expected_s(case) + BETWEEN_S for case in [FLOOR_CASE, *cases])
    return START_S * len(WORKERS) + pairs * one_round


def measure_stops(results: Kept, say: Say, log: Say, *, pairs: int, quick: bool, seed: int) -> Row:
    """Measure `pairs` rounds and return the record; results/stop-path.json holds it from the first round on.

    `say` gets the current step, `log` a line per scenario and round. Raises StoreError, ChildError, OSError.
    """
    plans = scenarios(quick=quick)
    deadline = time.monotonic() + lasts_s(pairs, quick=quick)

    def left(step: str) -> None:
        say(f"about {minutes_left(deadline - time.monotonic())}, {step}")

    settings = {"pairs": pairs, "workers": WORKERS, "strategies": list(WORKERS)}
    largest = [case_of(DISCONNECT, each) for each in plans]
    with measuring(results, left, "stop-path", settings, largest, seed=seed, quick=quick) as bench:
        manifest = bench.manifest
        manifest.instrument = {FLOOR_CASE.scenario.name: settings_of(FLOOR_CASE)}
        record: Row = {"schema": SCHEMA, "started": manifest.started_utc, "folder": results.folder.name}
        copied = ("quick", "seed", "commit", "dirty", "host", "versions", "stores")
        record |= {name: getattr(manifest, name) for name in copied} | {"pairs": pairs, "workers": WORKERS}
        record |= {"scenarios": {each.name: each.settings() for each in plans}}
        record |= {"rounds": [], "set_aside": [], "floor_ms": []}
        # All services run until the end: only the one under load has work to do.
        subjects = {name: bench.start(name, count) for name, count in WORKERS.items()}
        rounds = {each.name: orders(list(WORKERS), seed + place) for place, each in enumerate(plans)}
        for number in range(pairs + AGAIN):
            healthy = Counter(each["scenario"] for each in record["rounds"])
            wanting = [each for each in plans if number < pairs or healthy[each.name] < pairs]
            if wanting:
                record["floor_ms"].append(_stops(bench.measure(FLOOR_CASE, number)[0], FLOOR_CASE)[0])
            for scenario in wanting:
                found = _round(bench, subjects, scenario, number, next(rounds[scenario.name]))
                record["set_aside" if found["ill"] else "rounds"].append(found)
                log(_line(found, pairs))
            manifest.blocks = number + 1
            write_json(results.folder.parent / FILE, record, indent=None)
    record |= {"ended": manifest.ended_utc, "aims": goals_of(record), "problems": problems_of(record)}
    write_json(results.folder.parent / FILE, record, indent=None)
    return record


def _round(bench: Bench, subjects: dict[str, Subject], scenario: Scenario, number: int, order: Sequence[str]) -> Row:
    """Every strategy once; `ill` holds the reasons why the instrument was unhealthy."""
    found: Row = {"scenario": scenario.name, "round": number, "order": list(order), "ill": []}
    found |= {"stops_ms": {}, "counts": {}, "failed": {}}
    for strategy in order:
        case = case_of(strategy, scenario)
        rows, line = bench.measure(case, number, subjects[strategy])
        found["stops_ms"][strategy], found["counts"][strategy], found["failed"][strategy] = _stops(rows, case)
        found["ill"] += [f"{strategy}: {each}" for each in instrument_problems(line)]
    return found


def _stops(rows: Sequence[ChatRow], case: Case) -> tuple[list[float], dict[str, int], list[str]]:
    """upstream_stop_ms of every counted stop, chats by outcome, and the errors of chats that failed."""
    chats, stops_ms, outcomes = measured_chats(rows, settings_of(case))
    counts = Counter({JSON_NAMES.get(outcome, outcome): count for outcome, count in outcomes.items()})  # type: ignore[call-overload]
    counts |= Counter({"wrong_stop": sum(each.wrong_stop for each in chats), "leaked": sum(e.leaked for e in chats)})
    return stops_ms, dict(counts), [each.error for each in chats if each.error is not None]


def _line(found: Row, pairs: int) -> str:
    place = f"round {found['round'] + 1}/{pairs}" if found["round"] < pairs else "again"
    medians = {name: median(stops) if (stops := found["stops_ms"][name]) else None for name in WORKERS}
    line = "  ".join(f"{name} {figure(value)}" for name, value in medians.items())
    line = f"{place:9}  {found['scenario'].removeprefix('stop-path-'):7}  {line}"
    return f"{line}  set aside: {found['ill'][0]}" if found["ill"] else f"{line}  ms at p50"
