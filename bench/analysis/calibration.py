"""Whether injected delays and losses are measured again, and the floor, below which no difference is claimed.

The arms are those of bench/experiments/contenders/calibrated.py; they share one load, so whatever else delays a Stop
delays them alike.
"""

from collections.abc import Iterable, Iterator
from statistics import median

from bench.analysis.metrics import ChatMetrics
from bench.record.manifest import Duet
from bench.record.summary import Calibration, CalibrationDelay, CalibrationDrops
from bench.stats.proportions import proportion_interval
from bench.workload.strategies import FLOOR

SCENARIO = "calibration"
INSTANT, DELAY, DROP = ARMS = ("calibration-instant", "calibration-delay", "calibration-drop")

INJECTED_DELAY_MS = 10.0
INJECTED_DROP_RATE = 0.01
DROP_EVERY = 100
"""It is exactly every hundredth abort that is lost, so the number of losses is known, not only their rate."""
MAX_DELAY_ERROR_MS = 0.5
MAX_PAIR_ERROR_MS = 0.1
"""Of a delay between two services that share a load."""
ENOUGH_DROPS = 368
"""Fewest aborts with which zero losses exclude the injected rate at 95 %: ln 0.025 / ln 0.99 = 367.04."""

_NEXT_STEP = "this run's stop latencies cannot be believed; stop other work (`make doctor`), run again"


def calibrate(chats: Iterable[tuple[str, ChatMetrics]]) -> Calibration:
    """What was measured in the arms: pairs of a chat's strategy and its metrics; other strategies are ignored.

    The recovered delay is the difference of two medians of `upstream_stop_ms`; the interval of the drop rate is Clopper
    and Pearson's.
    """
    of: dict[str, list[ChatMetrics]] = {arm: [] for arm in ARMS}
    uncounted = 0
    for strategy, measured in chats:
        if strategy in of and measured.counted:
            of[strategy].append(measured)
        uncounted += strategy == DROP and not measured.counted
    stops_ms = {arm: [each.upstream_stop_ms for each in of[arm] if each.upstream_stop_ms is not None] for arm in ARMS}
    missed = {arm: sum(each.outcome == "missed" for each in of[arm]) for arm in ARMS}
    found = stops_ms[DELAY] and stops_ms[INSTANT]
    drops, lost = len(of[DROP]), missed[DROP]
    low, high = proportion_interval(lost, drops)
    return Calibration(
        delay_ms=CalibrationDelay(
            injected=INJECTED_DELAY_MS,
            recovered_p50=round(median(stops_ms[DELAY]) - median(stops_ms[INSTANT]), 4) if found else None,
        ),
        drop_rate=CalibrationDrops(
            injected=INJECTED_DROP_RATE,
            recovered=round(lost / drops, 6) if drops else None,
            ci95=(round(low, 6), round(high, 6)) if drops else None,
            lost=lost,
            # An abort that came too late to count may have been one that the service did count.
            planned=(drops // DROP_EVERY, -(-(drops + uncounted) // DROP_EVERY)),
        ),
        n={arm.removeprefix("calibration-"): len(of[arm]) for arm in ARMS},
        lost_by_obedient_arms=missed[INSTANT] + missed[DELAY],
    )


def problems(found: Calibration) -> list[str]:
    """Why the calibration failed; an empty list means that everything that was injected was measured."""
    return [f"calibration: {problem}; {_NEXT_STEP}" for problem in (*_delay_problems(found), *_drop_problems(found))]


def pair_problems(found: Duet | None) -> list[str]:
    """Why the calibration of a shared load failed: the delay of one side was not found again."""
    if found is None:
        return []
    error_ms = abs((found.recovered_ms or 0.0) - found.injected_ms)
    if found.recovered_ms is not None and error_ms <= MAX_PAIR_ERROR_MS:
        return []
    measured = "not measured" if found.recovered_ms is None else f"measured as {found.recovered_ms:.2f} ms"
    text = f"a delay of {found.injected_ms:g} ms between two services that share a load was {measured}"
    return [f"calibration: {text} (limit {MAX_PAIR_ERROR_MS:g} ms off); {_NEXT_STEP}"]


def _delay_problems(found: Calibration) -> Iterator[str]:
    injected, recovered = found.delay_ms.injected, found.delay_ms.recovered_p50
    if recovered is None:
        yield "no stop was seen in the arms that measure a delay"
    elif abs(recovered - injected) > MAX_DELAY_ERROR_MS:
        yield f"a delay of {injected:g} ms was measured as {recovered:.2f} ms (limit {MAX_DELAY_ERROR_MS:g} ms off)"


def _drop_problems(found: Calibration) -> Iterator[str]:
    rate, aborts = found.drop_rate, found.n["drop"]
    if lost := found.lost_by_obedient_arms:
        yield f"{lost} aborts were counted as missed in the arms that drop none"
    if rate.ci95 is None or rate.planned is None:
        yield "no abort was counted in the arm that drops some"
        return
    low, high = rate.ci95
    seen = f"{rate.recovered:.2%} of {aborts} aborts, interval {low:.2%} to {high:.2%}"
    if not low <= rate.injected <= high:
        yield f"a drop rate of {rate.injected:.0%} was not measured again ({seen})"
    elif low == 0:
        yield f"no drop was seen, which so few samples cannot show ({seen}; {ENOUGH_DROPS} aborts are needed)"
    elif not rate.planned[0] <= (rate.lost or 0) <= rate.planned[1]:
        yield f"{rate.lost} aborts were counted as missed, and exactly {rate.planned[0]} were lost ({seen})"


def floor_samples(chats: Iterable[tuple[str, ChatMetrics]]) -> list[float]:
    """The `upstream_stop_ms` of the floor, in ms: `describe` makes `summary["floor"]` of them."""
    return [
        each.upstream_stop_ms for strategy, each in chats if strategy == FLOOR and each.upstream_stop_ms is not None
    ]
