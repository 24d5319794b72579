"""Two sides measured at the same time: which cases, and the calibration of such a load.

Source: Bulej, Horky, Tuma, Farquet and Prokopec, Duet benchmarking: improving measurement accuracy in the cloud (2020),
arXiv 2001.05811. What disturbs a shared machine meets both sides at once, and cancels out of a pair.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from bench.analysis.metrics import measure
from bench.record.manifest import Duet
from bench.run.instrument import CALIBRATION_CASE
from bench.run.meter import Measured, Meter, Subject, Taken, settings_of
from bench.run.subject import Side
from bench.stats.paired import walsh_averages
from bench.system.procs import Child
from bench.workload.plan import Case
from bench.workload.schedule import can_be_paired

DUET_CASE = replace(
    CALIBRATION_CASE,
    strategy="calibration-duet",
    # Half the rate, as two services run: six times each, 0.2 ms scattered by 0.026 ms, at the full rate by 0.043 ms.
    scenario=replace(CALIBRATION_CASE.scenario, chats=250, rate_per_s=60),
)
ARMS = ("instant", "late")
"""The sides of the calibration: the words in their request ids, see bench/experiments/contenders/calibrated.py."""
INJECTED_MS = 0.2


class Pairing(Protocol):
    """Decides which cases are measured at the same time; see `shares_load` for those that can be."""

    def wanted(self, case: Case) -> bool:
        """Whether the next block of the case is measured at the same time."""

    def accepts(self, taken: Sequence[Taken]) -> bool:
        """Whether a block is usable; it is measured again in turns otherwise."""


class Always:
    """Measures at the same time whatever can be, and accepts every block."""

    def wanted(self, case: Case) -> bool:  # noqa: ARG002 - every case
        """Every case."""
        return True

    def accepts(self, taken: Sequence[Taken]) -> bool:  # noqa: ARG002 - every block
        """Every block."""
        return True


def shares_load(case: Case) -> bool:
    """Whether the sides share the load of this case."""
    return case.foreign is None and can_be_paired(case.scenario)


def calibrate(meter: Meter, services: Sequence[Child], sides: Sequence[Measured]) -> Duet:
    """Measure two calibrated services, of which the second stops 0.2 ms later. Their rows are not kept."""
    subjects = [
        Subject(service, [Measured(Side(arm), each.results)])
        for service, arm, each in zip(services, ARMS, sides, strict=True)
    ]
    settings = settings_of(DUET_CASE)
    stops_ms = []
    for taken in meter.take(DUET_CASE, 0, subjects):
        measured = {row.index: measure(row, settings).upstream_stop_ms for row in taken.arms[0][0]}
        stops_ms.append({index: stop_ms for index, stop_ms in measured.items() if stop_ms is not None})
    base, head = stops_ms
    changes = [head[index] - base[index] for index in sorted(base.keys() & head.keys())]
    found = Duet(injected_ms=INJECTED_MS, pairs=len(changes))
    if changes:
        found.recovered_ms = round(float(np.median(walsh_averages(changes))), 4)
    return found
