"""Does the instrument find again what was injected? And its floor: the differences that it cannot claim.

Pure functions over measured chats, for the runner (is the run valid?) and for the report. The arms are those of
bench/experiments/contenders/calibrated.py; they share one load, so whatever else delays a Stop delays them alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from scipy.stats import binomtest

from bench.analysis.metrics import ChatMetrics

SCENARIO = "calibration"
INSTANT, DELAY, DROP = ARMS = ("calibration-instant", "calibration-delay", "calibration-drop")
FLOOR = "floor"
"""Strategy and scenario of the load that talks straight to the witness."""

INJECTED_DELAY_MS = 10.0
INJECTED_DROP_RATE = 0.01
DROP_EVERY = 100
"""It is exactly every hundredth abort that is lost, so the number of losses is known, not only their rate."""
MAX_DELAY_ERROR_MS = 0.5
ENOUGH_DROPS = 368
"""From so many aborts on, the interval of no drop at all ends below the injected rate: ln 0.025 / ln 0.99 = 367.04."""

Calibration = dict[str, Any]
_NEXT_STEP = "what this run says about stops cannot be believed; stop other work (`make doctor`), run again"


def calibrate(chats: Iterable[tuple[str, ChatMetrics]]) -> Calibration:
    """What the instrument found in the arms: pairs of a chat's strategy and what it measured; other strategies pass.

    Returns `{"delay_ms": {"injected", "recovered_p50"}, "drop_rate": {"injected", "recovered", "ci95": [lo, hi],
    "lost", "planned": [least, most]}, "n": {arm: counted aborts}, "lost_by_obedient_arms"}`. The recovered delay is the
    difference of two medians of `upstream_stop_ms`; the interval of the drop rate is that of Clopper and Pearson
    (exact, so rather too wide: Biometrika 26, 1934). What has no samples is None.
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
    drops = binomtest(missed[DROP], len(of[DROP])) if of[DROP] else None
    interval = drops.proportion_ci(0.95, method="exact") if drops else None
    return {
        "delay_ms": {
            "injected": INJECTED_DELAY_MS,
            "recovered_p50": round(median(stops_ms[DELAY]) - median(stops_ms[INSTANT]), 4) if found else None,
        },
        "drop_rate": {
            "injected": INJECTED_DROP_RATE,
            "recovered": round(drops.statistic, 6) if drops else None,
            "ci95": [round(interval.low, 6), round(interval.high, 6)] if interval else None,
            "lost": missed[DROP],
            # An abort that came too late to count may have been one that the service did count.
            "planned": [len(of[DROP]) // DROP_EVERY, -(-(len(of[DROP]) + uncounted) // DROP_EVERY)],
        },
        "n": {arm.removeprefix("calibration-"): len(of[arm]) for arm in ARMS},
        "lost_by_obedient_arms": missed[INSTANT] + missed[DELAY],
    }


def problems(calibration: Mapping[str, Any]) -> list[str]:
    """Why the calibration failed, in words; an empty list means that all that was injected was found."""
    return [
        f"calibration: {found}; {_NEXT_STEP}" for found in (*_delay_problems(calibration), *_drop_problems(calibration))
    ]


def _delay_problems(calibration: Mapping[str, Any]) -> list[str]:
    injected, recovered = calibration["delay_ms"]["injected"], calibration["delay_ms"]["recovered_p50"]
    if recovered is None:
        return ["no stop was seen in the arms that measure a delay"]
    if abs(recovered - injected) > MAX_DELAY_ERROR_MS:
        return [
            f"a delay of {injected:g} ms was measured as {recovered:.2f} ms (allowed is {MAX_DELAY_ERROR_MS:g} ms off)"
        ]
    return []


def _drop_problems(calibration: Mapping[str, Any]) -> list[str]:
    rate, aborts = calibration["drop_rate"], calibration["n"]["drop"]
    found = []
    if lost := calibration["lost_by_obedient_arms"]:
        found.append(f"{lost} aborts were counted as missed in the arms that obey every one")
    if not rate["ci95"]:
        return [*found, "no abort was counted in the arm that drops some"]
    low, high = rate["ci95"]
    seen = f"{rate['recovered']:.2%} of {aborts} aborts, interval {low:.2%} to {high:.2%}"
    if not low <= rate["injected"] <= high:
        found.append(f"a drop rate of {rate['injected']:.0%} was not found again ({seen})")
    elif low == 0:
        found.append(
            f"no drop was seen, which proves nothing with so few samples ({seen}; {ENOUGH_DROPS} aborts would tell)"
        )
    elif not rate["planned"][0] <= rate["lost"] <= rate["planned"][1]:
        found.append(
            f"{rate['lost']} aborts were counted as missed, and exactly {rate['planned'][0]} were lost ({seen})"
        )
    return found


def floor_samples(chats: Iterable[tuple[str, ChatMetrics]]) -> list[float]:
    """The `upstream_stop_ms` of the floor, in ms: `describe` makes `summary["floor"]` of them."""
    return [
        each.upstream_stop_ms for strategy, each in chats if strategy == FLOOR and each.upstream_stop_ms is not None
    ]
