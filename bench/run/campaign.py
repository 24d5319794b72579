"""Runs the cases in blocks: starts stores, mock and services, sends the load, joins the timelines, writes the rows."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.load.driver import Load, processes_for
from bench.record.writer import describe_commit, describe_host, describe_versions, utc_now
from bench.run.code_check import code_of
from bench.run.idle import measure_idle
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import Measured, Meter, Schedules, Subject
from bench.run.progress import Expected, View
from bench.run.subject import Side, calibrated, describe_asgi, service_of
from bench.system.embedded import temporary_folder
from bench.system.http import AnswerError
from bench.system.procs import Child, ChildError
from bench.system.storage import writing
from bench.system.stores import Store, open_store
from bench.workload.plan import Case, counted_apart, served_by, store_of
from bench.workload.schedule import orders

Row = dict[str, Any]
More = Callable[[int, float, Mapping[str, Sequence[float]]], bool]
Group = tuple[str, int]
"""A service's strategy with so many workers: what one start of it is good for."""


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do; all of it stands in the manifest."""

    backend: str
    workers: int
    quick: bool
    seed: int
    label: str
    starve: bool = False
    """Give the load too little CPU: a run that must be called invalid."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the service under test, beside those that every process gets."""


class Run:
    """One invocation: `execute` measures blocks until `more` says that it is enough.

    `more` gets the number of blocks and the seconds so far, and each case's median stops. With two sides every service
    is measured from both, one directly after the other, first and second in turn. `expects` is for the progress bar.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        settings: Settings,
        sides: Sequence[Measured],
        console: Console,
        *,
        more: More = lambda _blocks, _took_s, _medians_ms: False,
        schedules: Schedules | None = None,
        expects: Expected = Expected(),  # noqa: B008 - frozen
    ) -> None:
        self._cases = cases
        self._settings = settings
        self._sides = sides
        self._more = more
        self._schedules = schedules or {}
        self._view = View(cases, console, sides=len(sides), expects=expects)
        self._stores: dict[str, Store] = {}
        self._unused_ops: dict[tuple[str, int, str], int] = {}
        self._token = secrets.token_hex(3)  # a store of yours may remember the ids of an earlier run
        self._namespace = f"stopwatch_bench_{self._token}"
        self._manifests = [self._describe(each.side) for each in sides]

    def execute(self) -> None:
        """Measure and write.

        Raises StoreError, ChildError (StorageError when the disk is full), or KeyboardInterrupt; what was finished
        stays, and the manifest says incomplete.
        """
        with writing(self._sides[-1].results.folder):
            self._write_manifests()
            try:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(self._view)
                    self._measure_all(stack)
            except BaseException:
                with contextlib.suppress(OSError):  # the first error is the one to report
                    self._end(complete=False)
                raise
            self._end(complete=True)

    def _end(self, *, complete: bool) -> None:
        for manifest in self._manifests:
            manifest |= {"complete": complete, "ended_utc": utc_now()}
        self._write_manifests()
        for each in self._sides:
            if not (each.results.folder / "cases.jsonl").exists() and not any(each.results.logs.iterdir()):
                shutil.rmtree(each.results.folder)  # nothing was measured, and no log tells why

    def _measure_all(self, stack: contextlib.ExitStack) -> None:
        self._scratch = stack.enter_context(temporary_folder("run"))
        self._logs = self._sides[0].results.logs
        for kind in sorted({case.store for case in self._cases} & {"redis", "postgres"}, key=str):
            self._view.say(f"starting {kind}")
            opened = self._stores[str(kind)] = stack.enter_context(open_store(str(kind)))
            if opened.how == "url":  # our own servers are gone with all they hold
                stack.callback(opened.delete_namespace, self._namespace)
            for manifest in self._manifests:
                manifest["stores"][str(kind)] = opened.describe()
        self._view.say("starting the mock upstream and the load")
        mock = Child("mock_llm", ["mock_llm", "serve", "--port", "0"], self._logs / "mock_llm.log")
        self._mock = stack.enter_context(mock)
        processes = processes_for([*self._cases, FLOOR_CASE, CALIBRATION_CASE])
        load = stack.enter_context(Load(processes, self._scratch, self._logs, starve=self._settings.starve))
        groups: dict[Group, list[Case]] = {}
        for case in self._cases:
            groups.setdefault((served_by(case.strategy), case.workers), []).append(case)
        for cases in groups.values():
            # What nothing costs comes first: Stops leave a service with fewer upstream connections to use again, and
            # the more so the better they work.
            cases.sort(key=lambda case: case.scenario.abort_share > 0)
        began = time.monotonic()
        meter = self._meter = Meter(
            mock, load, self._view, seed=self._settings.seed, token=self._token, schedules=self._schedules
        )
        with calibrated(mock, self._logs / "calibrated.log") as service:
            meter.measure(CALIBRATION_CASE, 0, Subject(service, self._sides))
        for block, order in enumerate(orders([f"{name} {workers}" for name, workers in groups], self._settings.seed)):
            self._view.begin(block)
            meter.measure(FLOOR_CASE, block, Subject(mock, self._sides))
            for place, key in enumerate(order):
                name, _, workers = key.partition(" ")
                turns = self._sides if (block + place) % 2 == 0 else self._sides[::-1]
                for each in turns:
                    self._measure_group((name, int(workers)), groups[name, int(workers)], block, each)
            for manifest in self._manifests:
                manifest["blocks"] = block + 1
            self._write_manifests()
            if not self._more(block + 1, time.monotonic() - began, meter.medians_ms):
                break

    def _measure_group(self, group: Group, cases: Sequence[Case], block: int, measured: Measured) -> None:
        store = self._stores.get(store_of(group[0]) or "")
        late = store is not None and store.kind == "postgres"
        counted = counted_apart(cases, again=block > 0, compared=len(self._sides) > 1) if late else []
        rest = [case for case in cases if case not in counted]
        if rest:
            with self._service(group, store, block, measured, "") as (service, traces):
                for case in rest:
                    self._meter.measure(case, block, Subject(service, [measured], traces, store, counts=not late))
                if block == 0 and len(self._sides) == 1 and not self._settings.quick:
                    self._note_idle(group, service, store)
        if counted and store is not None:
            self._measure_late_counting(group, counted, block, measured, store)

    def _note_idle(self, group: Group, service: Child, store: Store | None) -> None:
        """Once for each strategy, after its cases of the first block: what it costs while nothing happens."""
        self._view.say(f"{group[0]} while nothing happens")
        strategy, workers = group
        try:
            found = measure_idle(service, store)
        except (OSError, AnswerError) as error:
            service.check()
            raise ChildError(f"server with {strategy} cannot chat: {error}; its log is {service.log}") from error
        self._manifests[0]["idle"].append({"strategy": strategy, "workers": workers, **found})

    def _measure_late_counting(
        self, group: Group, cases: Sequence[Case], block: int, measured: Measured, store: Store
    ) -> None:
        """A service per case: PostgreSQL counts a backend's work for sure only when its connection has been closed.

        What a service costs that does nothing but start, warm up and stop is measured once for each side and taken off.
        """
        unused = (*group, measured.side.name)
        if unused not in self._unused_ops:
            before = store.ops(settled=True)
            with self._service(group, store, block, measured, "-idle"):
                pass
            self._unused_ops[unused] = store.ops(settled=True) - before
        idle = self._unused_ops[unused]
        for case in cases:
            before = store.ops(settled=True)
            with contextlib.ExitStack() as life:
                service, traces = life.enter_context(
                    self._service(group, store, block, measured, f"-{case.scenario.name}")
                )

                def operations(life: contextlib.ExitStack = life, before: int = before) -> int:
                    life.close()
                    return max(0, store.ops(settled=True) - before - idle)

                subject = Subject(service, [measured], traces, store, operations=operations)
                self._meter.measure(case, block, subject)

    @contextlib.contextmanager
    def _service(
        self, group: Group, store: Store | None, block: int, measured: Measured, suffix: str
    ) -> Iterator[tuple[Child, Path]]:
        strategy, workers = group
        self._view.say(f"starting the service with {strategy}")
        name = "-".join(word for word in (strategy, str(workers), measured.side.name) if word)
        traces = self._scratch / f"{name}-{block}{suffix}"
        log = measured.results.logs / f"server-{name}.log"
        with service_of(
            strategy,
            workers,
            side=measured.side,
            store=store,
            namespace=self._namespace,
            mock=self._mock,
            traces=traces,
            log=log,
            environment=self._settings.environment,
        ) as service:
            if self._manifests[0]["asgi"] is None:
                for manifest in self._manifests:
                    manifest["asgi"] = describe_asgi(service)
            if measured.side.checkout is not None:
                manifest = self._manifests[self._sides.index(measured)]
                manifest["code"] = manifest["code"] or code_of(service, measured.side.checkout)
            yield service, traces

    def _write_manifests(self) -> None:
        for each, manifest in zip(self._sides, self._manifests, strict=True):
            each.results.write_manifest(manifest)

    def _describe(self, side: Side) -> Row:
        commit, dirty = describe_commit(side.checkout) if side.checkout else describe_commit()
        scenarios = {case.scenario.name: case.scenario.settings() for case in self._cases}
        strategies = list(dict.fromkeys(case.strategy for case in self._cases))
        settings = asdict(self._settings)
        environment = settings.pop("environment")
        return {
            "label": self._settings.label,
            "side": side.name or None,
            "started_utc": utc_now(),
            "ended_utc": None,
            "complete": False,
            "blocks": 0,
            "quick": self._settings.quick,
            "seed": self._settings.seed,
            "settings": settings | {"strategies": strategies},
            "environment": environment,
            "cases": [[case.strategy, case.scenario.name, case.workers] for case in self._cases],
            "commit": commit,
            "dirty": dirty,
            "host": describe_host(),
            "versions": describe_versions(),
            "stores": {},
            "idle": [],
            "scenarios": scenarios,
            "instrument": {each.scenario.name: each.scenario.settings() for each in (FLOOR_CASE, CALIBRATION_CASE)},
            "asgi": None,
            "code": None,
        }
