"""The calibration's sums: what was injected is found, and each way of not finding it is told."""

from typing import Any

import msgspec
import pytest
from scipy.stats import beta

from bench.analysis.calibration import ENOUGH_DROPS, calibrate, floor_samples, problems
from bench.analysis.metrics import ChatMetrics
from bench.workload.strategies import FLOOR


def stops(arm: str, values_ms: list[float]) -> list[tuple[str, ChatMetrics]]:
    return [(f"calibration-{arm}", ChatMetrics("stopped", upstream_stop_ms=value)) for value in values_ms]


def missed(arm: str, count: int) -> list[tuple[str, ChatMetrics]]:
    return [(f"calibration-{arm}", ChatMetrics("missed"))] * count


def run(*, delay_ms: float = 10.0, aborts: int = 400, lost: int = 4) -> list[tuple[str, ChatMetrics]]:
    """A run of three arms whose stops take 1 to 2 ms by themselves."""
    own_ms = [1 + number / 200 for number in range(200)]
    return [
        *stops("instant", own_ms),
        *stops("delay", [value + delay_ms for value in own_ms]),
        *stops("drop", [1.5] * (aborts - lost)),
        *missed("drop", lost),
    ]


def test_what_was_injected_is_found() -> None:
    clopper_pearson = [beta.ppf(0.025, 4, 397), beta.ppf(0.975, 5, 396)]
    found = calibrate([*run(), ("redis-push", ChatMetrics("missed")), ("calibration-delay", ChatMetrics("late"))])
    assert msgspec.to_builtins(found) == {
        "delay_ms": {"injected": 10.0, "recovered_p50": 10.0},
        "drop_rate": {
            "injected": 0.01,
            "recovered": 0.01,
            "ci95": pytest.approx(tuple(clopper_pearson), abs=1e-6),
            "lost": 4,
            "planned": (4, 4),
        },
        "n": {"instant": 200, "delay": 200, "drop": 400},
        "lost_by_obedient_arms": 0,
    }
    assert problems(found) == []


@pytest.mark.parametrize(("delay_ms", "holds"), [(9.4, False), (9.6, True), (10.4, True), (10.6, False)])
def test_the_delay_may_be_half_a_millisecond_off(delay_ms: float, holds: bool) -> None:
    found = problems(calibrate(run(delay_ms=delay_ms)))
    assert (found == []) == holds
    if not holds:
        assert f"a delay of 10 ms was measured as {delay_ms:.2f} ms" in found[0]
        assert "make doctor" in found[0]


@pytest.mark.parametrize(("lost", "holds"), [(0, False), (4, True), (10, False)])
def test_the_drop_rate_lies_in_its_interval(lost: int, holds: bool) -> None:
    found = problems(calibrate(run(lost=lost)))
    assert (found == []) == holds
    if not holds:
        assert "a drop rate of 1% was not measured again" in found[0]
        assert f"{lost / 400:.2%} of 400 aborts" in found[0]


@pytest.mark.parametrize(("lost", "holds"), [(3, False), (4, True), (5, False)])
def test_the_losses_are_counted_to_the_last_one(lost: int, holds: bool) -> None:
    found = problems(calibrate(run(lost=lost)))
    assert (found == []) == holds
    if not holds:
        assert f"{lost} aborts were counted as missed, and exactly 4 were lost" in found[0]


def test_a_lost_abort_that_came_too_late_to_count_is_no_failure() -> None:
    late = [("calibration-drop", ChatMetrics("late"))] * 2
    assert problems(calibrate([*run(aborts=399, lost=4), *late])) == []
    assert problems(calibrate([*run(aborts=399, lost=3), *late])) == []
    assert len(problems(calibrate([*run(aborts=399, lost=2), *late]))) == 1


def test_too_few_samples_to_tell_a_drop_from_none() -> None:
    (found,) = problems(calibrate(run(aborts=ENOUGH_DROPS - 1, lost=0)))
    assert "which so few samples cannot show" in found
    assert f"{ENOUGH_DROPS} aborts are needed" in found
    (found,) = problems(calibrate(run(aborts=ENOUGH_DROPS, lost=0)))
    assert "was not measured again" in found, "from here on no drop at all is a finding"


def test_a_loss_where_none_was_injected_is_told() -> None:
    (found,) = problems(calibrate([*run(), *missed("delay", 1), *missed("instant", 1)]))
    assert "2 aborts were counted as missed in the arms that drop none" in found


def test_without_samples_nothing_is_claimed() -> None:
    found = calibrate([("redis-push", ChatMetrics("missed"))])
    assert (found.delay_ms.recovered_p50, found.drop_rate.recovered) == (None, None)
    assert len(problems(found)) == 2


def test_the_floor_is_the_floors_own_stops() -> None:
    chats: list[Any] = [(FLOOR, ChatMetrics("stopped", upstream_stop_ms=0.4)), (FLOOR, ChatMetrics("late")), *run()]
    assert floor_samples(chats) == [0.4]
