"""The calibration of two sides in one load, for real: a delay of one side is found again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from bench.analysis.calibration import pair_problems
from bench.record.manifest import Duet
from bench.record.writer import Results
from bench.run.duet import calibrate, shares_load
from bench.run.meter import Measured
from bench.run.rig import StatusView, instrument
from bench.run.subject import Side, calibrated
from bench.workload.plan import Case
from tests.bench.small_runs import small

ATTEMPTS = 6
pytestmark = pytest.mark.timeout(300)


def test_a_side_that_is_slower_by_a_fifth_of_a_millisecond_comes_out_as_that(tmp_path: Path) -> None:
    sides = [Measured(Side(name), Results(tmp_path, name)) for name in ("base", "head")]
    with contextlib.ExitStack() as stack:
        view = StatusView(lambda _what: None)
        running = stack.enter_context(instrument(sides[0].results.logs, view, processes=1, seed=1))
        services = [stack.enter_context(calibrated(running.mock, tmp_path / f"{name}.log")) for name in "ab"]
        for _attempt in range(ATTEMPTS):  # a busy machine
            found = calibrate(running.meter, services, sides)
            if not pair_problems(found):
                break
    assert found.pairs > 200
    assert found.recovered_ms == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize(
    ("recovered", "wrong"), [(0.2, False), (0.29, False), (0.11, False), (0.31, True), (0.0, True), (None, True)]
)
def test_another_delay_makes_the_measurement_invalid(recovered: float | None, wrong: bool) -> None:
    found = pair_problems(Duet(injected_ms=0.2, recovered_ms=recovered, pairs=90))
    assert bool(found) == wrong
    assert pair_problems(None) == []


def test_a_scenario_without_aborts_is_measured_in_turns() -> None:
    assert shares_load(Case("redis-push", small("flowing"), 2))
    assert not shares_load(Case("redis-push", small("steady"), 2))
