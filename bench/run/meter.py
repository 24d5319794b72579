"""Measure one case of one block: send its load, wait until it has ended, join the timelines, write the rows."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from bench.analysis import health
from bench.analysis.chat_outcome import LEAK_S
from bench.analysis.metrics import ChatMetrics, measure
from bench.load.driver import Load
from bench.load.loaded import Loaded
from bench.load.order import Other
from bench.record.join import case_head
from bench.record.manifest import PlannedChat, ScenarioSettings, ScheduleRow
from bench.record.schema import CaseRow, ChatRow
from bench.record.settle import settled
from bench.record.writer import Results
from bench.run.case_rows import Arms, arms_of
from bench.run.instrument import arm_id
from bench.run.resource_monitor import ResourceMonitor
from bench.run.store_crash import StoreCrash
from bench.run.subject import Side
from bench.run.target_process import Attached
from bench.system.http import request_json
from bench.system.procs import Child
from bench.system.stores import Store
from bench.workload.plan import Case
from bench.workload.schedule import Planned, paired_schedule, schedule, twice
from bench.workload.strategies import CALIBRATION

Schedules = Mapping[tuple[str, int], list[Planned]]


class View(Protocol):
    """Where progress is reported."""

    def say(self, what: str) -> None:
        """Something besides the load begins."""

    def advance(self, case: Case, share: float) -> None:
        """`share` of the case's chats are done."""

    def finished(
        self, case: Case, measured: Sequence[ChatMetrics], side: str = "", unhealthy: Sequence[str] = ()
    ) -> None:
        """A case has ended; `unhealthy`: why it cannot be believed."""


@dataclass(frozen=True)
class Measured:
    """One side of a run: the code that is measured, and where its results go."""

    side: Side
    results: Results


@dataclass(frozen=True)
class Subject:
    """What a case is sent to. Its rows go to all of `into`; `traces` is the service's TRACE_DIR.

    Store operations are read from `store` before and after the load if it `counts` at once, else from `operations`
    after the load. `values` are for the templates of the target.
    """

    service: Child | Attached
    into: Sequence[Measured]
    traces: Path | None = None
    store: Store | None = None
    counts: bool = False
    operations: Callable[[], int] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def side(self) -> str:
        """The name of the only side; empty when the rows go to both."""
        return self.into[0].side.name if len(self.into) == 1 else ""


class Taken(NamedTuple):
    """What a load showed of one subject: the rows of each arm (there is one arm, apart from the calibration)."""

    subject: Subject
    arms: Arms


@dataclass(frozen=True)
class _Turn:
    """A chat of a load: the subject that gets it, its id, and its moments."""

    subject: int
    request_id: str
    planned: Planned


def settings_of(case: Case) -> ScenarioSettings:
    """The settings of a case's scenario, as the manifest has them."""
    return msgspec.convert(case.scenario.settings(), ScenarioSettings)


class Meter:
    """What a run needs to measure one case after the other; `schedules` replace those drawn from the seed."""

    def __init__(self, mock: Child, load: Load, view: View, *, seed: int, token: str, schedules: Schedules) -> None:
        self._mock = mock
        self._load = load
        self._view = view
        self._seed = seed
        self._token = token
        self._schedules = schedules
        self.medians_ms: dict[str, list[float]] = {}
        """The median stop of each case, one value for each block so far."""

    def measure(self, case: Case, block: int, subject: Subject) -> None:
        """Measure and write. Raises ChildError when a process ends, StoreError when a crashed store does not return."""
        self.write(case, self.take(case, block, [subject]))

    def write(self, case: Case, taken: Sequence[Taken]) -> None:
        """Write what a load showed, and report it."""
        for subject, arms in taken:
            for rows, row in arms:
                for each in subject.into:
                    each.results.append(rows, row)
            if case.strategy != CALIBRATION:
                self._report(case, *arms[0], subject.side)

    def take(self, case: Case, block: int, subjects: Sequence[Subject]) -> list[Taken]:
        """Send the load of a case to one subject, or one load to two; only the schedules are written. Raises as above.

        What two subjects share is of neither: operations, CPU time and connections of a store are left out.
        """
        single = subjects[0] if len(subjects) == 1 else None
        turns = self._turns(case, block, subjects)
        for number, subject in enumerate(subjects):
            chats = [PlannedChat(**asdict(turn.planned)) for turn in turns if turn.subject == number]
            for each in subject.into:
                each.results.append_schedule(ScheduleRow(scenario=case.scenario.name, block=block, chats=chats))
        store = subjects[0].store
        request_json(self._mock.url, "/__mock/journal", "DELETE")
        counted = store.ops() if store and single and single.counts else None
        cpu_s = [subject.service.cpu_s() for subject in subjects]
        store_cpu_s = store.cpu_s() if store and single else None
        with ExitStack() as stack:
            crash = stack.enter_context(StoreCrash(case, store))
            monitors = [stack.enter_context(ResourceMonitor(self._mock.url)) for _ in subjects]
            for subject, monitor in zip(subjects, monitors, strict=True):
                if subject.service is not self._mock and subject.service.pid is not None:
                    monitor.watch("service", subject.service.pid)
                for pid in self._load.pids():
                    monitor.watch("load", pid)
            loaded = self._send(case, turns, subjects, crash.plan)
            crash.join()
        own = [
            CaseRow(
                **msgspec.structs.asdict(case_head(case, block)),
                service_cpu_s=None if subject.service.pid is None else round(subject.service.cpu_s() - before_s, 3),
                fault=crash.fault,
                connections=store.connections() if store and single else None,
            )
            for subject, before_s in zip(subjects, cpu_s, strict=True)
        ]
        store_cpu_after_s = store.cpu_s() if store and single else None
        if store_cpu_s is not None and store_cpu_after_s is not None and not crash.fault:
            own[0].store_cpu_s = round(store_cpu_after_s - store_cpu_s, 3)
        taken = []
        for number, (subject, costs, monitor) in enumerate(zip(subjects, own, monitors, strict=True)):
            ids = [turn.request_id for turn in turns if turn.subject == number]
            rows = [row for row in loaded.rows if row.request_id in set(ids)]
            after_stop_s = LEAK_S if case.foreign else 0.0
            journal, lines = settled(self._mock.url, subject.traces, rows, after_stop_s=after_stop_s)
            if store is not None and not crash.fault:  # a server that crashed counts from 0 again
                if subject.operations:
                    costs.store_ops = subject.operations()
                elif counted is not None:
                    costs.store_ops = store.ops() - counted
            costs.clocks, costs.load_processes = loaded.clocks, self._load.processes_for(case)
            costs.health = monitor.health(loaded.rows, traces=lines, load=loaded.health)
            taken.append(Taken(subject, arms_of(case, costs, ids, loaded=loaded, lines=lines, journal=journal)))
        return taken

    def _turns(self, case: Case, block: int, subjects: Sequence[Subject]) -> list[_Turn]:
        """The chats of the load, in the order in which they are sent."""
        if len(subjects) > 1:
            planned = paired_schedule(case.scenario, self._seed, block)
        else:
            saved = self._schedules.get((case.scenario.name, block))
            chosen = saved if saved is not None else schedule(case.scenario, self._seed, block)
            planned = [(0, chat) for chat in chosen]
        found = []
        for number, chat in planned:
            side, scenario = subjects[number].side, case.scenario.name
            parts = (self._token, side, case.strategy, scenario, f"{case.workers}", f"{block}")
            prefix = "-".join(part for part in parts if part)
            found.append(_Turn(number, arm_id(case, prefix, chat.index), chat))
        return found

    def _send(
        self, case: Case, turns: Sequence[_Turn], subjects: Sequence[Subject], began: Callable[[int], None]
    ) -> Loaded:
        first, other = subjects[0], None
        if len(subjects) > 1:
            case = replace(case, scenario=twice(case.scenario))
            chats = {turn.request_id for turn in turns if turn.subject == 1}
            other = Other(subjects[1].service.url, subjects[1].values, chats)
        return self._load.send(
            case,
            [turn.planned for turn in turns],
            [turn.request_id for turn in turns],
            url=first.service.url,
            values=first.values,
            other=other,
            witness=self._mock.url,
            beside=(self._mock, *(subject.service for subject in subjects)),
            began=began,
            progress=lambda share: self._view.advance(case, share),
        )

    def _report(self, case: Case, rows: Sequence[ChatRow], row: CaseRow, side: str) -> None:
        settings = settings_of(case)
        measured = [measure(each, settings) for each in rows]
        stops_ms = [each.upstream_stop_ms for each in measured if each.upstream_stop_ms is not None]
        if stops_ms:
            name = f"{case.strategy} in {case.scenario.name}, {case.workers} w"
            self.medians_ms.setdefault(name, []).append(statistics.median(stops_ms))
        self._view.finished(case, measured, side, health.problems(row))
