"""`python -m bench plan --measure`: each strategy's knee, its costs at 30 % of it, and loads to check the model."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.experiments.frame import Bench, instrument_problems, measured_chats, measuring, provenance, write_json
from bench.experiments.knee import Knee, Probe, find_knee, rates
from bench.experiments.knee_run import all_rates, probe_of, scenario_at
from bench.experiments.plan.fanout import measure_fanout
from bench.experiments.plan.held import measure_held
from bench.experiments.tables import figure
from bench.record.plan import FIT, VALIDATIONS, PlanKnee, PlanLoad, PlanRecord, PlanStrategy
from bench.record.schema import CaseRow, ChatRow
from bench.run.meter import Subject, settings_of
from bench.run.rig import Kept, Say
from bench.stats.percentiles import describe
from bench.system.stores import Store
from bench.workload.plan import Case, delivery_of
from bench.workload.scenario import Scenario

FOLDER, FILE = "plan", "plan.json"
FIRST_PER_S = 25
"""The lowest rate that is probed: half of it is far from the knee of any strategy here."""
KNEE_MINUTES, QUICK_KNEE_MINUTES = 1.2, 0.4
LOAD_S, QUICK_LOAD_S = 8.0, 3.0
LEAST_CHATS, QUICK_LEAST_CHATS, MOST_CHATS = 400, 130, 1000
"""Of 400, 370 are stopped: enough for a p99. Of 130, 120: enough for a p95."""
FLOWING_CHUNKS, LONG_TOKENS, SHORT_TOKENS = 40, 300, 10
"""Chunks of a chat: about those of `flowing`, where most chats are stopped half-way, and those of the other two loads,
which have no aborts, so that the costs of chats, chunks and stops are separate."""
FIT_SHARE = 0.3
NO_KNEE = PlanKnee(chats_per_s=0.0, limit_ms=0.0, ended_by="failed")


@dataclass(frozen=True)
class Request:
    """The options; `knees`: known ones by strategy, in chats/s with their limit (ms), which are not searched again."""

    strategies: Sequence[str]
    workers: int
    quick: bool
    seed: int
    knees: dict[str, PlanKnee] = field(default_factory=dict)


def measure(request: Request, results: Kept, say: Say, log: Say) -> PlanRecord:
    """Measure the strategies one after the other; plan.json in the run's folder grows with each of them.

    `say` gets the current step, `log` a line per load. Raises StoreError or ChildError; finished strategies are kept.
    """
    largest = Case(request.strategies[0], scenario_at(all_rates()[-1]), request.workers)
    settings = {"workers": request.workers, "strategies": list(request.strategies)}
    seed, quick = request.seed, request.quick
    with measuring(results, say, "plan", settings, [largest], seed=seed, quick=quick) as bench:
        began, load = bench.manifest.started_utc or "", settings_of(Case("", scenario_at(FIRST_PER_S), 1))
        record = PlanRecord(started_utc=began, scenario=load, seed=seed, quick=quick, **provenance())
        stores = {name: bench.store(name) for name in request.strategies}
        record.stores = dict(bench.manifest.stores)
        for store in {each.kind: each for each in stores.values() if each}.values():
            say(f"{store.kind}: cost of a message by number of listeners")
            record.fanout.append(measure_fanout(store, quick=request.quick))
        for strategy in request.strategies:
            record.strategies.append(_Measurement(bench, strategy, request, log).run())
            write_json(results.folder / FILE, record)
    return record


def known_knees(path: Path) -> dict[str, PlanKnee]:
    """The knees in a knee.json of `bench knee`. Raises OSError or ValueError."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {
        row["strategy"]: PlanKnee(chats_per_s=row["chats_per_s"], limit_ms=row["limit_ms"], ended_by=row["ended_by"])
        for row in rows
    }


@dataclass
class _Measurement:
    """One strategy."""

    bench: Bench
    strategy: str
    request: Request
    log: Say
    blocks: Counter[str] = field(default_factory=Counter)

    def run(self) -> PlanStrategy:
        """Silent streams and the knee, the checks on the same service, and the costs with a service for each load."""
        store = self.bench.store(self.strategy)
        found = PlanStrategy(strategy=self.strategy, workers=self.request.workers, knee=NO_KNEE)
        with contextlib.ExitStack() as life:
            subject = self.bench.start(self.strategy, self.request.workers, life)
            found.held = measure_held(subject.service, store, self.request.workers, quick=self.request.quick)
            found.knee = self.request.knees.get(self.strategy) or self._knee(subject)
            if not found.knee.chats_per_s:
                return found
            for name in VALIDATIONS:
                scenario = self._scenario(name, found.knee.chats_per_s * int(name) / 100)
                found.loads.append(self._load(name, scenario, replace(subject, store=store)))
        unused = self._unused_ops(store)
        rate = FIT_SHARE * found.knee.chats_per_s
        long_rate = rate * FLOWING_CHUNKS / LONG_TOKENS  # as many chunks per second
        long = replace(self._scenario("long", long_rate, least=20), abort_share=0.0, output_tokens=LONG_TOKENS)
        short = replace(self._scenario("short", rate), abort_share=0.0, output_tokens=SHORT_TOKENS)
        for name, scenario in ((FIT, self._scenario(FIT, rate)), ("long", long), ("short", short)):
            found.loads.append(self._counted(name, scenario, store, unused))
        return found

    def _knee(self, subject: Subject) -> PlanKnee:
        at = rates(FIRST_PER_S, all_rates()[-1])
        deadline = time.monotonic() + 60 * (QUICK_KNEE_MINUTES if self.request.quick else KNEE_MINUTES)

        def probe(rate: int) -> Probe:
            rows, line, case = self._measure(scenario_at(rate, quick=True), subject)
            found = probe_of(rows, line, settings_of(case))
            self.log(f"{self.strategy:15} {rate:4} chats/s  p99 stop {figure(found.p99_ms, '.1f'):>7} ms")
            return found

        knee: Knee = find_knee(probe, at, slack_ms=20, repeats=0, more=lambda: time.monotonic() < deadline)
        return PlanKnee(chats_per_s=knee.chats_per_s, limit_ms=knee.limit_ms, ended_by=knee.ended_by)

    def _scenario(self, name: str, rate: float, least: int | None = None) -> Scenario:
        """The scenario of a knee at another rate, with enough chats for percentiles, or with at least `least`."""
        load_s, enough = (QUICK_LOAD_S, QUICK_LEAST_CHATS) if self.request.quick else (LOAD_S, LEAST_CHATS)
        chats = round(min(MOST_CHATS, max(least or enough, rate * load_s)))
        plain, name = scenario_at(FIRST_PER_S), f"plan-{self.strategy}-{name}"
        return replace(plain, name=name, rate_per_s=round(rate, 2), chats=chats, streams=chats)

    def _unused_ops(self, store: Store | None) -> int:
        """Store operations of a service that starts, warms up and ends."""
        if store is None:
            return 0
        before = store.ops(settled=True)
        with contextlib.ExitStack() as life:
            self.bench.start(self.strategy, self.request.workers, life)
        return store.ops(settled=True) - before

    def _counted(self, name: str, scenario: Scenario, store: Store | None, unused: int) -> PlanLoad:
        """Measure with a service of its own, since PostgreSQL counts reliably only what has been disconnected."""
        before = store.ops(settled=True) if store else 0
        with contextlib.ExitStack() as life:
            subject = self.bench.start(self.strategy, self.request.workers, life)

            def operations() -> int:
                life.close()
                return max(0, store.ops(settled=True) - before - unused) if store else 0

            return self._load(name, scenario, replace(subject, operations=operations if store else None))

    def _load(self, name: str, scenario: Scenario, subject: Subject) -> PlanLoad:
        rows, line, case = self._measure(scenario, subject)
        chats, stops_ms, outcomes = measured_chats(rows, settings_of(case))
        waits = delivery_of(self.strategy) != "push"
        paths_ms = [
            each.upstream_stop_ms - (_delivered_ms(row) if waits else 0.0)
            for row, each in zip(rows, chats, strict=True)
            if each.upstream_stop_ms is not None
        ]
        stop, path = describe(stops_ms), describe(paths_ms)
        seconds = (line.ended_ns - line.started_ns) / 1e9
        others = [use.cpu or 0.0 for use in (line.health.processes if line.health else ()) if use.name != "service"]
        found = PlanLoad(
            name=name,
            chats_per_s=float(scenario.rate_per_s or 0),
            chats=len(rows),
            chunks=line.tokens,
            stops=len(stops_ms),
            missed=outcomes["missed"],
            seconds=round(seconds, 3),
            service_cpu_s=line.service_cpu_s or 0.0,
            others_cpu_s=round(sum(others) * seconds, 3),
            store_cpu_s=line.store_cpu_s,
            store_ops=line.store_ops,
            problems=instrument_problems(line),
            path_mean_ms=path["mean"],
            path_p95_ms=path["p95"],
            **{f"stop_{key}_ms": stop[key] for key in ("mean", "p50", "p95", "p99")},
        )
        p95, problem = figure(found.stop_p95_ms, ".1f"), f"  {found.problems[0]}" if found.problems else ""
        self.log(f"{self.strategy:15} {scenario.rate_per_s:6.1f} chats/s  {name:9} p95 stop {p95:>7} ms{problem}")
        return found

    def _measure(self, scenario: Scenario, subject: Subject) -> tuple[Sequence[ChatRow], CaseRow, Case]:
        case = Case(self.strategy, scenario, self.request.workers)
        rows, line = self.bench.measure(case, self.blocks[scenario.name], subject)
        self.blocks[scenario.name] += 1
        return rows, line, case


def _delivered_ms(row: ChatRow) -> float:
    """From the flag's record in the store to the signal in the worker that owns the stream; 0 where unknown."""
    service = row.service
    if service is None or service.abort_recorded_ns is None or service.signal_ns is None:
        return 0.0
    return max(0.0, (service.signal_ns - service.abort_recorded_ns) / 1e6)
