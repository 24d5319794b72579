"""Measures one case of one block: sends its load, waits until it died down, joins the timelines, writes the rows."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.analysis.metrics import measure
from bench.load.driver import Load, Loaded, processes_for
from bench.record.join import case_head, join, load_window, pacing_ms
from bench.record.settle import settled
from bench.record.writer import Results
from bench.run.instrument import ARMS, arm_id, arm_of
from bench.run.progress import View
from bench.run.resource_monitor import Vitals
from bench.run.subject import Side
from bench.system.http import request_json
from bench.system.procs import Child
from bench.system.stores import Store
from bench.workload.plan import CALIBRATION, Case
from bench.workload.schedule import Planned, as_rows, schedule

Row = dict[str, Any]
Schedules = Mapping[tuple[str, int], list[Planned]]


@dataclass(frozen=True)
class Measured:
    """One side of a run: the code that is measured, and where its results go."""

    side: Side
    results: Results


@dataclass(frozen=True)
class Subject:
    """What a case is sent to, and what may be asked about it.

    Rows go to all of `into`. `traces` is the service's TRACE_DIR. Store operations are read from `store` before and
    after the load when it `counts` at once, else `operations` gives them, after the load.
    """

    service: Child
    into: Sequence[Measured]
    traces: Path | None = None
    store: Store | None = None
    counts: bool = False
    operations: Callable[[], int] | None = None


class Meter:
    """Everything a run needs for one case after the other; `schedules` are used instead of drawing them."""

    def __init__(self, mock: Child, load: Load, view: View, *, seed: int, token: str, schedules: Schedules) -> None:
        self._mock = mock
        self._load = load
        self._view = view
        self._seed = seed
        self._token = token
        self._schedules = schedules
        self.medians_ms: dict[str, list[float]] = {}
        """The median stop of each case, a value for each block so far."""

    def measure(self, case: Case, block: int, subject: Subject) -> None:
        """Measure and write down. Raises ChildError when a process dies, StoreError when a crashed store stays away."""
        planned = self._planned(case, block)
        for each in subject.into:
            each.results.append_schedule(case.scenario.name, block, as_rows(planned))
        store = subject.store
        request_json(self._mock.url, "/__mock/journal", "DELETE")
        counted = store.ops() if store and subject.counts else None
        cpu_s, store_cpu_s = subject.service.cpu_s(), store.cpu_s() if store else None
        request_ids = self._request_ids(case, block, subject, planned)
        with _Fault(case, store) as fault, Vitals(self._mock.url) as vitals:
            if subject.service is not self._mock:
                vitals.watch("service", subject.service.process.pid)
            for pid in self._load.pids():
                vitals.watch("load", pid)
            loaded = self._load.send(
                case,
                planned,
                request_ids,
                url=subject.service.url,
                beside=(self._mock, subject.service),
                began=fault.plan,
                progress=lambda share: self._view.advance(case, share),
            )
            fault.join()
        cost: Row = {"service_cpu_s": round(subject.service.cpu_s() - cpu_s, 3), "fault": fault.seen}
        store_cpu_after_s = store.cpu_s() if store else None
        known = store_cpu_s is not None and store_cpu_after_s is not None and not fault.seen
        cost["store_cpu_s"] = round(store_cpu_after_s - store_cpu_s, 3) if known else None  # type: ignore[operator]
        cost["connections"] = store.connections() if store else None
        journal, lines = settled(self._mock.url, subject.traces, loaded.rows)
        if store is None or fault.seen:  # a server that crashed has begun to count anew
            cost["store_ops"] = None
        elif subject.operations:
            cost["store_ops"] = subject.operations()
        else:
            cost["store_ops"] = None if counted is None else store.ops() - counted
        cost["health"] = vitals.health(loaded.rows, traces=lines, load=loaded.health)
        for arm in ARMS if case.strategy == CALIBRATION else (None,):
            ids = {each for each in request_ids if arm in (None, arm_of(each))}
            head = case_head(case, block, arm)
            rows = join(head, [row for row in loaded.rows if row["request_id"] in ids], lines, journal)
            for each in subject.into:
                each.results.append(rows, {**head, **_line(rows, ids, loaded, case), **cost})
        if case.strategy != CALIBRATION:
            self._note(case, rows, _side(subject))

    def _note(self, case: Case, rows: Sequence[Row], side: str) -> None:
        measured = [measure(row, case.scenario.settings()) for row in rows]
        stops_ms = [each.upstream_stop_ms for each in measured if each.upstream_stop_ms is not None]
        if stops_ms:
            name = f"{case.strategy} in {case.scenario.name}, {case.workers} w"
            self.medians_ms.setdefault(name, []).append(statistics.median(stops_ms))
        self._view.finished(case, measured, side)

    def _planned(self, case: Case, block: int) -> list[Planned]:
        saved = self._schedules.get((case.scenario.name, block))
        return saved if saved is not None else schedule(case.scenario, self._seed, block)

    def _request_ids(self, case: Case, block: int, subject: Subject, planned: Sequence[Planned]) -> list[str]:
        words = (self._token, _side(subject), case.strategy, case.scenario.name, f"{case.workers}", f"{block}")
        prefix = "-".join(word for word in words if word)
        return [arm_id(case, prefix, chat.index) for chat in planned]


class _Fault:
    """The store's crash in mid-load, when the scenario has one and the case a store; `seen` tells when it happened."""

    def __init__(self, case: Case, store: Store | None) -> None:
        self._scenario = case.scenario
        self._store = store if case.scenario.fault else None
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._given_up = threading.Event()
        self.seen: Row | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up.set()  # a load that failed must not find a store started behind its back
        if self._thread is not None:
            self._thread.join()

    def plan(self, start_ns: int) -> None:
        """The load begins at this moment."""
        if self._store is not None:
            self._thread = threading.Thread(target=self._crash, args=(self._store, start_ns), daemon=True)
            self._thread.start()

    def join(self) -> None:
        """Wait until the store is back; raises what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _crash(self, store: Store, start_ns: int) -> None:
        try:
            if self._given_up.wait(_left_s(start_ns + int(self._scenario.fault_at_ms * 1e6))):
                return
            down_ns = time.monotonic_ns()
            store.crash()
            if self._given_up.wait(_left_s(down_ns + int(self._scenario.fault_for_ms * 1e6))):
                return
            store.restart()
            self.seen = {"kind": self._scenario.fault, "down_ns": down_ns, "up_ns": time.monotonic_ns()}
        except Exception as error:
            self._failed = error


def _left_s(moment_ns: int) -> float:
    return max(0.0, (moment_ns - time.monotonic_ns()) / 1e9)


def _side(subject: Subject) -> str:
    return subject.into[0].side.name if len(subject.into) == 1 else ""


def _line(rows: Sequence[Row], ids: Set[str], loaded: Loaded, case: Case) -> Row:
    """A row of cases.jsonl, but for its head and the costs; `ids` are those of the chats that were planned."""
    started_ns, ended_ns = load_window(rows)
    return {
        "started_ns": started_ns,
        "ended_ns": ended_ns,
        "tokens": sum(len(row["client"]["token_ns"]) for row in rows),
        "chats_planned": len(ids),
        "dropped": len(ids & set(loaded.dropped)),
        "load_processes": processes_for([case]),
        "at_once": -(-case.scenario.at_once // processes_for([case])),
        "rate_per_s": case.scenario.rate_per_s,
        "witness_late_p99_ms": pacing_ms(rows),
    }
