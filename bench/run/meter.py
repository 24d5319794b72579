"""Measure one case of one block: send its load, wait until it has ended, join the timelines, write the rows."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from bench.analysis import health
from bench.analysis.chat_outcome import LEAK_S
from bench.analysis.metrics import ChatMetrics, measure
from bench.load.driver import Load
from bench.record.join import case_head, join, load_window, pacing_ms
from bench.record.manifest import PlannedChat, ScenarioSettings, ScheduleRow
from bench.record.schema import CaseHead, CaseRow, ChatRow, Fault
from bench.record.settle import settled
from bench.record.writer import Results
from bench.run.instrument import ARMS, arm_id, arm_of
from bench.run.resource_monitor import ResourceMonitor
from bench.run.subject import Side
from bench.run.target_process import Attached
from bench.system.http import request_json
from bench.system.procs import Child
from bench.system.stores import Store
from bench.workload.plan import Case
from bench.workload.schedule import Planned, schedule
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
        saved = self._schedules.get((case.scenario.name, block))
        planned = saved if saved is not None else schedule(case.scenario, self._seed, block)
        chats = [PlannedChat(**asdict(each)) for each in planned]
        for each in subject.into:
            each.results.append_schedule(ScheduleRow(scenario=case.scenario.name, block=block, chats=chats))
        store = subject.store
        request_json(self._mock.url, "/__mock/journal", "DELETE")
        counted = store.ops() if store and subject.counts else None
        cpu_s, store_cpu_s = subject.service.cpu_s(), store.cpu_s() if store else None
        request_ids = self._request_ids(case, block, subject, planned)
        with _StoreCrash(case, store) as crash, ResourceMonitor(self._mock.url) as monitor:
            if subject.service is not self._mock and subject.service.pid is not None:
                monitor.watch("service", subject.service.pid)
            for pid in self._load.pids():
                monitor.watch("load", pid)
            loaded = self._load.send(
                case,
                planned,
                request_ids,
                url=subject.service.url,
                values=subject.values,
                witness=self._mock.url,
                beside=(self._mock, subject.service),
                began=crash.plan,
                progress=lambda share: self._view.advance(case, share),
            )
            crash.join()
        costs = CaseRow(
            **msgspec.structs.asdict(case_head(case, block)),
            service_cpu_s=None if subject.service.pid is None else round(subject.service.cpu_s() - cpu_s, 3),
            fault=crash.fault,
            connections=store.connections() if store else None,
        )
        store_cpu_after_s = store.cpu_s() if store else None
        if store_cpu_s is not None and store_cpu_after_s is not None and not crash.fault:
            costs.store_cpu_s = round(store_cpu_after_s - store_cpu_s, 3)
        after_stop_s = LEAK_S if case.foreign else 0.0
        journal, lines = settled(self._mock.url, subject.traces, loaded.rows, after_stop_s=after_stop_s)
        if store is not None and not crash.fault:  # a server that crashed counts from 0 again
            if subject.operations:
                costs.store_ops = subject.operations()
            elif counted is not None:
                costs.store_ops = store.ops() - counted
        costs.clocks, costs.load_processes = loaded.clocks, self._load.processes_for(case)
        costs.health = monitor.health(loaded.rows, traces=lines, load=loaded.health)
        for arm in ARMS if case.strategy == CALIBRATION else (None,):
            ids = {each for each in request_ids if arm in (None, arm_of(each))}
            head = case_head(case, block, arm)
            rows = join(head, [row for row in loaded.rows if row.request_id in ids], lines, journal)
            row = _case_row(costs, head, rows, case, planned=len(ids), dropped=len(ids & set(loaded.dropped)))
            for each in subject.into:
                each.results.append(rows, row)
        if case.strategy != CALIBRATION:
            self._report(case, rows, row, subject.side)

    def _report(self, case: Case, rows: Sequence[ChatRow], row: CaseRow, side: str) -> None:
        settings = settings_of(case)
        measured = [measure(each, settings) for each in rows]
        stops_ms = [each.upstream_stop_ms for each in measured if each.upstream_stop_ms is not None]
        if stops_ms:
            name = f"{case.strategy} in {case.scenario.name}, {case.workers} w"
            self.medians_ms.setdefault(name, []).append(statistics.median(stops_ms))
        self._view.finished(case, measured, side, health.problems(row))

    def _request_ids(self, case: Case, block: int, subject: Subject, planned: Sequence[Planned]) -> list[str]:
        parts = (self._token, subject.side, case.strategy, case.scenario.name, f"{case.workers}", f"{block}")
        prefix = "-".join(part for part in parts if part)
        return [arm_id(case, prefix, chat.index) for chat in planned]


class _StoreCrash:
    """The store's crash during the load, if the scenario has one and the case a store; `fault` is set afterwards."""

    def __init__(self, case: Case, store: Store | None) -> None:
        self._scenario = case.scenario
        self._store = store if case.scenario.fault else None
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._cancelled = threading.Event()
        self.fault: Fault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancelled.set()  # after a failed load no store may be started
        if self._thread is not None:
            self._thread.join()

    def plan(self, start_ns: int) -> None:
        """The load begins at this moment."""
        if self._store is not None:
            self._thread = threading.Thread(target=self._crash, args=(self._store, start_ns), daemon=True)
            self._thread.start()

    def join(self) -> None:
        """Wait until the store is back. Raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _crash(self, store: Store, start_ns: int) -> None:
        try:
            if self._cancelled.wait(_left_s(start_ns + int(self._scenario.fault_at_ms * 1e6))):
                return
            down_ns = time.monotonic_ns()
            store.crash()
            if self._cancelled.wait(_left_s(down_ns + int(self._scenario.fault_for_ms * 1e6))):
                return
            store.restart()
            self.fault = Fault(kind=str(self._scenario.fault), down_ns=down_ns, up_ns=time.monotonic_ns())
        except Exception as error:
            self._failed = error


def _left_s(moment_ns: int) -> float:
    return max(0.0, (moment_ns - time.monotonic_ns()) / 1e9)


def _case_row(
    costs: CaseRow, head: CaseHead, rows: Sequence[ChatRow], case: Case, *, planned: int, dropped: int
) -> CaseRow:
    started_ns, ended_ns = load_window(rows)
    return msgspec.structs.replace(
        costs,
        strategy=head.strategy,
        started_ns=started_ns,
        ended_ns=ended_ns,
        tokens=sum(len(row.client.token_ns) for row in rows),
        chats_planned=planned,
        dropped=dropped,
        at_once=-(-case.scenario.at_once // (costs.load_processes or 1)),
        rate_per_s=case.scenario.rate_per_s,
        witness_late_p99_ms=pacing_ms(rows),
    )
