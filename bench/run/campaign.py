"""Run the cases in blocks: start stores, mock and services, send the load, and write the rows."""

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from rich.console import Console

from bench.load.driver import processes_for
from bench.load.fleet.protocol import parse_fleet
from bench.record.host import utc_now
from bench.record.manifest import Manifest, StoreInfo
from bench.run.duet import Pairing
from bench.run.foreign.measure import stores_of
from bench.run.groups import Group, Groups
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import Measured, Schedules, Subject, settings_of
from bench.run.progress import Expected, ProgressView
from bench.run.rig import NO_SCHEDULES, RunContext, describe, instrument
from bench.run.settings import Settings
from bench.run.subject import Side, calibrated
from bench.system.storage import writing
from bench.system.stores import Store, open_store
from bench.workload.plan import Case, served_by
from bench.workload.schedule import orders, twice

More = Callable[[int, float, Mapping[str, Sequence[float]]], bool]


class Run:
    """One invocation: `execute` measures blocks until `more` returns False.

    `more` gets the number of blocks, the seconds so far, and each case's median stops. Two sides take turns with every
    service, in alternating order; with `pairing` they share the loads of the scenarios with aborts.
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
        pairing: Pairing | None = None,
    ) -> None:
        self._cases = cases
        self._settings = settings
        self._sides = sides
        self._more = more
        self._pairing = pairing
        self._schedules = schedules or NO_SCHEDULES
        self._view = ProgressView(cases, console, sides=len(sides), expects=expects)
        self._stores: dict[str, Store] = {}
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
        # A load that both sides share has twice the chats.
        shared = [replace(each, scenario=twice(each.scenario)) for each in self._cases if self._pairing]
        rig = self._rig = stack.enter_context(
            instrument(
                self._sides[0].results.logs,
                self._view,
                processes=processes_for([*self._cases, *shared, FLOOR_CASE, CALIBRATION_CASE]),
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
        context = RunContext(rig, self._settings, self._sides, self._manifests, self._stores, self._view.say)
        measured = Groups(context, self._pairing)
        stack.callback(measured.clear_stores)
        groups: dict[Group, list[Case]] = {}
        for case in self._cases:
            groups.setdefault((served_by(case), case.workers), []).append(case)
        for cases in groups.values():
            # Scenarios without aborts first: aborts close pooled upstream connections, and would raise their cost.
            cases.sort(key=lambda case: case.scenario.abort_share > 0)
        began = time.monotonic()
        with calibrated(rig.mock, self._sides[0].results.logs / "calibrated.log", self._settings.host) as service:
            rig.meter.measure(CALIBRATION_CASE, 0, Subject(service, self._sides))
        measured.calibrate_pairs()
        for block, order in enumerate(orders([f"{name} {workers}" for name, workers in groups], self._settings.seed)):
            self._view.begin(block)
            if block == 0 or len(self._sides) == 1:  # sides are compared with each other, not with the floor
                rig.meter.measure(FLOOR_CASE, block, Subject(rig.mock, self._sides))
            for place, key in enumerate(order):
                name, _, workers = key.partition(" ")
                turns = self._sides if (block + place) % 2 == 0 else self._sides[::-1]
                measured.measure((name, int(workers)), groups[name, int(workers)], block, turns)
            for manifest in self._manifests:
                manifest.blocks = block + 1
            self._write_manifests()
            if not self._more(block + 1, time.monotonic() - began, rig.meter.medians_ms):
                break

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
