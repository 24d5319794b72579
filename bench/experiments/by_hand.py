"""`python -m bench locust`: chats driven by hand in Locust's web UI, and what the witness saw of them as a run."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from bench.experiments.frame import POLL_S, Bench, measuring, wait
from bench.load.loaded import Loaded
from bench.load.order import OrderedChat, locust_environment, order_of
from bench.record.base import decode, encode_line
from bench.record.files import replace_file
from bench.record.join import case_head
from bench.record.manifest import PlannedChat, ScheduleRow
from bench.record.schema import CaseRow, LoadRow
from bench.record.settle import settled
from bench.record.traces import LoadAnswer
from bench.run.case_rows import arms_of
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import Subject
from bench.run.resource_monitor import ResourceMonitor
from bench.run.rig import Kept, Say, note_case
from bench.run.subject import calibrated
from bench.system.http import request_json
from bench.system.procs import Child, ChildError
from bench.workload.plan import Case
from bench.workload.scenario import PlanError, Scenario
from bench.workload.schedule import schedule

LOCUSTFILE = Path(__file__).parents[1] / "load" / "by_hand.py"
SUFFIX = "by_hand"
BLOCKS = 5
"""Of a scenario's schedule; then the same moments come again."""
STOP_S = 7
"""Locust waits this long for open chats when it is ended."""
READY_S = 30.0


@dataclass(frozen=True)
class Request:
    """The options; with `users` Locust starts them at once, and ends after `run_s` seconds if given."""

    strategy: str
    workers: int
    seed: int
    port: int
    users: int | None = None
    run_s: float | None = None


def by_hand(scenario: Scenario) -> Scenario:
    """The same chats without a rate: users send them. The name keeps them apart from those of a run.

    Raises PlanError for a scenario that happens to all chats at once.
    """
    if scenario.fault or scenario.at_once > 1:
        raise PlanError(f"SCENARIO {scenario.name}: a store's crash and a storm cannot be driven by hand")
    return replace(scenario, name=f"{scenario.name.replace('-', '_')}_{SUFFIX}", rate_per_s=None)


def drive(
    request: Request, scenarios: Sequence[Scenario], results: Kept, say: Say, opened: Callable[[str], None]
) -> int:
    """Serve the web UI until Ctrl-C, then write the chats as cases of one block; returns their number.

    `scenarios` come from `by_hand`; `opened` gets the UI's address. Raises StoreError or ChildError.
    """
    cases = [Case(request.strategy, each, request.workers) for each in scenarios]
    settings = {"backend": request.strategy, "workers": request.workers, "strategies": [request.strategy]}
    with measuring(results, say, results.folder.name, settings, cases, seed=request.seed, quick=True) as bench:
        say("calibrating the instrument")
        with calibrated(bench.rig.mock, results.logs / "calibrated.log") as service:
            bench.measure(CALIBRATION_CASE, 0, bench.subject(service))
        bench.measure(FLOOR_CASE, 0)
        subject = bench.start(request.strategy, request.workers)
        return _Session(bench, subject, request, cases).run(opened)


@dataclass(frozen=True)
class _Session:
    bench: Bench
    subject: Subject
    request: Request
    cases: Sequence[Case]

    def run(self, opened: Callable[[str], None]) -> int:
        rig = self.bench.rig
        folder = rig.scratch / SUFFIX
        folder.mkdir()
        for case in self.cases:
            self._order(case, folder)
        request_json(rig.mock.url, "/__mock/journal", "DELETE")
        env = {**locust_environment(rig.scratch), "CHATS_BY_HAND": str(folder)}
        log = self.bench.results.logs / "locust-by-hand.log"
        with ResourceMonitor(rig.mock.url) as monitor:
            with Child("locust", self._arguments(), log, env=env, ready=False, folder=rig.scratch) as locust:
                _wait_ready(locust, folder / "awake")
                monitor.watch("service", self.subject.service.pid or 0)
                monitor.watch("load", locust.process.pid)
                opened(f"http://127.0.0.1:{self.request.port}")
                with contextlib.suppress(KeyboardInterrupt):  # the way to end it
                    wait(locust, lambda _took_s: self._check())
            return self._write(folder, monitor)

    def _check(self) -> None:
        for each in (self.bench.rig.mock, self.subject.service):
            each.check()

    def _arguments(self) -> list[str]:
        arguments = [
            "locust", "-f", str(LOCUSTFILE), "--class-picker", "--web-host", "127.0.0.1",
            "--web-port", str(self.request.port), "--host", self.subject.service.url, "--stop-timeout", str(STOP_S),
        ]  # fmt: skip
        if self.request.users is not None:
            arguments += ["--autostart", "--users", str(self.request.users), "--spawn-rate", "100"]
        if self.request.run_s is not None:
            arguments += ["--run-time", f"{self.request.run_s:g}", "--autoquit", "0"]
        return arguments

    def _order(self, case: Case, folder: Path) -> None:
        order = order_of(case, self.subject.service.url, self.subject.values, self.bench.rig.mock.url)
        order.rows = str(folder / f"{case.scenario.name}.jsonl")
        Path(order.rows).touch()
        name = f"{self.bench.rig.token}-{case.strategy}-{case.scenario.name}"
        order.chats = [
            OrderedChat(**asdict(each), request_id=name)
            for block in range(BLOCKS)
            for each in schedule(case.scenario, self.request.seed, block)
        ]
        replace_file(folder / f"{case.scenario.name}.json", encode_line(order))

    def _write(self, folder: Path, monitor: ResourceMonitor) -> int:
        """Join the chats with what mock and service recorded, and append them as cases."""
        done = folder / "done"
        if not done.exists():
            raise ChildError(f"locust did not end in order; its log is {self.bench.results.logs}/locust-by-hand.log")
        health = decode(done.read_bytes(), LoadAnswer, done.name).health
        decoder = msgspec.json.Decoder(LoadRow)
        files = [(case, folder / f"{case.scenario.name}.jsonl") for case in self.cases]
        loaded = [(case, [decoder.decode(line) for line in file.read_bytes().splitlines()]) for case, file in files]
        every = [row for _case, rows in loaded for row in rows]
        journal, lines = settled(self.bench.rig.mock.url, self.subject.traces, every)
        for case, clients in loaded:
            if not clients:
                continue
            note_case(self.bench.manifest, case)
            planned = [PlannedChat(index=each.index, at_ms=None, abort_after_ms=None) for each in clients]
            self.bench.results.append_schedule(ScheduleRow(scenario=case.scenario.name, block=0, chats=planned))
            costs = CaseRow(
                **msgspec.structs.asdict(case_head(case, 0)),
                load_processes=1,
                health=monitor.health(clients, traces=lines, load=[health]),
            )
            ids, result = [each.request_id for each in clients], Loaded(clients, [], [health])
            ((rows, row),) = arms_of(case, costs, ids, loaded=result, lines=lines, journal=journal)
            self.bench.results.append(rows, row)
        return len(every)


def _wait_ready(locust: Child, awake: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not awake.exists():
        locust.check()
        if time.monotonic() > deadline:
            raise locust.failure(f"was not ready after {READY_S:g} s")
        time.sleep(POLL_S)
