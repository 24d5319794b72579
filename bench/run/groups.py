"""Measure the cases that share a start of a service, of one side or of two."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.analysis.calibration import pair_problems
from bench.run.code_check import code_of
from bench.run.duet import Pairing, calibrate, shares_load
from bench.run.foreign.measure import measure_foreign
from bench.run.idle import measure_idle
from bench.run.meter import Measured, Subject
from bench.run.rig import RunContext
from bench.run.subject import calibrated, describe_asgi, service_of
from bench.system.http import AnswerError
from bench.system.procs import Child, ChildError
from bench.system.stores import Store
from bench.workload.plan import Case, counted_apart, store_of

Group = tuple[str, int]
"""A service's strategy and number of workers: the cases that share one start of it."""


class Groups:
    """Starts the services of a run, and measures their cases."""

    def __init__(self, context: RunContext, pairing: Pairing | None) -> None:
        self._context, self._pairing = context, pairing
        self._rig, self._settings = context.rig, context.settings
        self._sides, self._manifests = context.sides, context.manifests
        self._unused_ops: dict[tuple[str, int, str], int] = {}

    def clear_stores(self) -> None:
        """Remove what the services have left in stores given by URL; our own are removed with all they hold."""
        for store in self._context.stores.values():
            for each in self._sides if store.how == "url" else ():
                store.delete_namespace(self._context.namespace_of(each))

    def calibrate_pairs(self) -> None:
        """If the sides share loads, find a delay of one side again; the second of two attempts counts."""
        if self._pairing is None:
            return
        with contextlib.ExitStack() as stack:
            logs, host = self._sides[0].results.logs, self._settings.host
            services = [
                stack.enter_context(calibrated(self._rig.mock, logs / f"calibrated-{each}.log", host)) for each in "ab"
            ]
            found = calibrate(self._rig.meter, services, self._sides)
            if pair_problems(found):
                found = calibrate(self._rig.meter, services, self._sides)
        for manifest in self._manifests:
            manifest.duet = found

    def measure(self, group: Group, cases: Sequence[Case], block: int, turns: Sequence[Measured]) -> None:
        """Measure one block of the cases on both sides: in one load, or in these turns."""
        pairing = self._pairing
        together = [case for case in cases if pairing and shares_load(case) and pairing.wanted(case)]
        in_turns = [case for case in cases if case not in together]
        if together and pairing:
            in_turns += self._measure_together(group, together, block, turns, pairing)
        for each in turns if in_turns else ():
            self._measure_group(group, in_turns, block, each)

    def _measure_together(
        self, group: Group, cases: Sequence[Case], block: int, turns: Sequence[Measured], pairing: Pairing
    ) -> list[Case]:
        """Measure both sides in one load per case. Returns the cases whose block was not accepted, nor written."""
        store, again = self._context.stores.get(store_of(group[0]) or ""), []
        with contextlib.ExitStack() as stack:
            running = {
                each.side.name: stack.enter_context(self._service(group, store, block, each, "-duet")) for each in turns
            }
            for case in cases:
                subjects = [
                    Subject(service, [each], traces, store)
                    for each, (service, traces) in ((each, running[each.side.name]) for each in self._sides)
                ]
                taken = self._rig.meter.take(case, block, subjects)
                if pairing.accepts(taken):
                    self._rig.meter.write(case, taken)
                else:
                    again.append(case)
        return again

    def _measure_group(self, group: Group, cases: Sequence[Case], block: int, measured: Measured) -> None:
        if cases[0].foreign is not None:
            measure_foreign(self._context, cases, block, measured)
            return
        store = self._context.stores.get(store_of(group[0]) or "")
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
        self._context.say(f"{strategy} without load")
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
        self._context.say(f"starting the service with {strategy}")
        name = "-".join(part for part in (strategy, str(workers), measured.side.name) if part)
        traces = self._rig.scratch / f"{name}-{block}{suffix}"
        with service_of(
            strategy,
            workers,
            side=measured.side,
            store=store,
            namespace=self._context.namespace_of(measured),
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
