"""Run the cases in blocks: start stores, mock and services, send the load, and write the rows."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench.load.driver import processes_for
from bench.load.fleet.protocol import parse_fleet
from bench.record.host import utc_now
from bench.record.manifest import Manifest, StoreInfo
from bench.run.code_check import code_of
from bench.run.foreign import delete_namespaces, measure_foreign, stores_of
from bench.run.idle import measure_idle
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import Measured, Schedules, Subject, settings_of
from bench.run.progress import Expected, ProgressView
from bench.run.rig import NO_SCHEDULES, describe, instrument
from bench.run.settings import Settings
from bench.run.subject import Side, calibrated, describe_asgi, service_of
from bench.system.http import AnswerError
from bench.system.procs import Child, ChildError
from bench.system.storage import writing
from bench.system.stores import Store, open_store
from bench.workload.plan import Case, counted_apart, served_by, store_of
from bench.workload.schedule import orders

More = Callable[[int, float, Mapping[str, Sequence[float]]], bool]
Group = tuple[str, int]
"""A service's strategy and number of workers: the cases that share one start of it."""


class Run:
    """One invocation: `execute` measures blocks until `more` returns False.

    `more` gets the number of blocks, the seconds so far, and each case's median stops. With two sides every service
    is measured from both, one directly after the other, in alternating order.
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
        self._schedules = schedules or NO_SCHEDULES
        self._view = ProgressView(cases, console, sides=len(sides), expects=expects)
        self._stores: dict[str, Store] = {}
        self._unused_ops: dict[tuple[str, int, str], int] = {}
        self._manifests = [self._describe(each.side) for each in sides]

    def execute(self) -> None:
        """Measure and write. Finished cases stay in any case, and the manifest is then not `complete`.

        Raises StoreError, ChildError (StorageError when the disk is full), KeyboardInterrupt.
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
            manifest.complete, manifest.ended_utc = complete, utc_now()
        self._write_manifests()
        for each in self._sides:
            if not (each.results.folder / "cases.jsonl").exists() and not any(each.results.logs.iterdir()):
                shutil.rmtree(each.results.folder)  # neither a case nor a log

    def _measure_all(self, stack: contextlib.ExitStack) -> None:
        for kind in sorted(stores_of(self._cases)):
            self._view.say(f"starting {kind}")
            opened = self._stores[str(kind)] = stack.enter_context(open_store(str(kind)))
            for manifest in self._manifests:
                manifest.stores[str(kind)] = StoreInfo(**opened.describe())
        rig = self._rig = stack.enter_context(
            instrument(
                self._sides[0].results.logs,
                self._view,
                processes=processes_for([*self._cases, FLOOR_CASE, CALIBRATION_CASE]),
                seed=self._settings.seed,
                starve=self._settings.starve,
                schedules=self._schedules,
                mock_port=self._settings.mock_port,
                host=self._settings.host,
                fleet=parse_fleet(self._settings.load),
            )
        )
        for manifest in self._manifests:
            manifest.load_workers = rig.load.workers
        self._namespace = f"stopwatch_bench_{rig.token}"
        for opened in self._stores.values():
            if opened.how == "url":  # our own servers are removed with all they hold
                stack.callback(delete_namespaces, opened, self._namespace, [each.side for each in self._sides])
        groups: dict[Group, list[Case]] = {}
        for case in self._cases:
            groups.setdefault((served_by(case), case.workers), []).append(case)
        for cases in groups.values():
            # Scenarios without aborts first: aborts close pooled upstream connections, and would raise their cost.
            cases.sort(key=lambda case: case.scenario.abort_share > 0)
        began = time.monotonic()
        with calibrated(rig.mock, self._sides[0].results.logs / "calibrated.log", self._settings.host) as service:
            rig.meter.measure(CALIBRATION_CASE, 0, Subject(service, self._sides))
        for block, order in enumerate(orders([f"{name} {workers}" for name, workers in groups], self._settings.seed)):
            self._view.begin(block)
            rig.meter.measure(FLOOR_CASE, block, Subject(rig.mock, self._sides))
            for place, key in enumerate(order):
                name, _, workers = key.partition(" ")
                turns = self._sides if (block + place) % 2 == 0 else self._sides[::-1]
                for each in turns:
                    self._measure_group((name, int(workers)), groups[name, int(workers)], block, each)
            for manifest in self._manifests:
                manifest.blocks = block + 1
            self._write_manifests()
            if not self._more(block + 1, time.monotonic() - began, rig.meter.medians_ms):
                break

    def _measure_group(self, group: Group, cases: Sequence[Case], block: int, measured: Measured) -> None:
        if cases[0].foreign is not None:
            measure_foreign(
                self._rig,
                cases,
                block,
                measured,
                namespace=self._namespace,
                settings=self._settings,
                stores=self._stores,
                manifests=self._manifests,
                say=self._view.say,
            )
            return
        store = self._stores.get(store_of(group[0]) or "")
        late = store is not None and store.kind == "postgres"
        counted = counted_apart(cases, again=block > 0, compared=len(self._sides) > 1) if late else []
        rest = [case for case in cases if case not in counted]
        if rest:
            with self._service(group, store, block, measured, "") as (service, traces):
                for case in rest:
                    subject = Subject(service, [measured], traces, store, counts=not late)
                    self._rig.meter.measure(case, block, subject)
                if block == 0 and len(self._sides) == 1 and not self._settings.quick:
                    self._measure_idle(group, service, store)
        if counted and store is not None:
            self._measure_late_counting(group, counted, block, measured, store)

    def _measure_idle(self, group: Group, service: Child, store: Store | None) -> None:
        """Once for each strategy, after its cases of the first block."""
        strategy, workers = group
        self._view.say(f"{strategy} without load")
        try:
            found = measure_idle(service, store)
        except (OSError, AnswerError) as error:
            service.check()
            raise ChildError(f"server with {strategy} cannot chat: {error}; its log is {service.log}") from error
        found.strategy, found.workers = strategy, workers
        self._manifests[0].idle.append(found)

    def _measure_late_counting(
        self, group: Group, cases: Sequence[Case], block: int, measured: Measured, store: Store
    ) -> None:
        """Start a service per case: PostgreSQL counts a backend's work reliably only after its connection has closed.

        The cost of a service that starts, warms up and stops is measured once for each side and subtracted.
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
                self._rig.meter.measure(case, block, subject)

    @contextlib.contextmanager
    def _service(
        self, group: Group, store: Store | None, block: int, measured: Measured, suffix: str
    ) -> Iterator[tuple[Child, Path]]:
        strategy, workers = group
        self._view.say(f"starting the service with {strategy}")
        name = "-".join(part for part in (strategy, str(workers), measured.side.name) if part)
        traces = self._rig.scratch / f"{name}-{block}{suffix}"
        with service_of(
            strategy,
            workers,
            side=measured.side,
            store=store,
            namespace=self._namespace,
            mock=self._rig.mock,
            traces=traces,
            log=measured.results.logs / f"server-{name}.log",
            environment=self._settings.environment,
            host=self._settings.host,
        ) as service:
            if self._manifests[0].asgi is None:
                for manifest in self._manifests:
                    manifest.asgi = describe_asgi(service)
            if measured.side.checkout is not None:
                manifest = self._manifests[self._sides.index(measured)]
                manifest.code = manifest.code or code_of(service, measured.side.checkout)
            yield service, traces

    def _write_manifests(self) -> None:
        for each, manifest in zip(self._sides, self._manifests, strict=True):
            each.results.write_manifest(manifest)

    def _describe(self, side: Side) -> Manifest:
        settings = asdict(self._settings)
        environment = settings.pop("environment")
        settings["strategies"] = list(dict.fromkeys(case.strategy for case in self._cases))
        asked = self._settings
        manifest = describe(asked.label, settings, seed=asked.seed, quick=asked.quick, checkout=side.checkout)
        manifest.side, manifest.blocks, manifest.environment = side.name or None, 0, environment
        manifest.cases = [(case.strategy, case.scenario.name, case.workers) for case in self._cases]
        manifest.scenarios = {case.scenario.name: settings_of(case) for case in self._cases}
        manifest.instrument = {case.scenario.name: settings_of(case) for case in (FLOOR_CASE, CALIBRATION_CASE)}
        return manifest
