"""The goals of `storm`, each with its value, its interval if it has one, and the verdict: pure."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.experiments.goals import judge, of_rounds
from bench.experiments.storm.retries import SLOW_S
from bench.experiments.tables import Row

RECOVERED_S = 5.0
TTFT_RATIO, FAST_MS = 1.5, 5.0
NORMAL_RATIO, NORMAL_MS = 2.0, 20.0
"""A stop is normal up to this multiple of the p95 before the storm, or this much above it, whichever is more."""


def goals_of(mass: Row, retry: Row, abuses: Mapping[str, Sequence[Row]], *, starts_per_s: float) -> list[Row]:
    """The rows of the goals: part, name, value, unit, at_most, verdict, and `ci95` of a ratio over rounds."""
    streams = sum(mass[fault] for fault in ("errors", "silent", "unstopped", "uncut"))
    rows = [
        _row("mass stop", f"not stopped, of {mass['streams']:,}", streams, 0),
        _row("mass stop", "last gone", mass["upstream_stop_ms"]["max"], None, "ms"),
        _row("retry storm", "stops missed", retry["missed"], 0),
        _row("retry storm", "back to normal after", recovery_s(retry["stops"]), RECOVERED_S, "s"),
    ]
    for name, rounds in abuses.items():
        ratio = of_rounds([_p99(each["abused"]["ttft_ms"]) / _p99(each["alone"]["ttft_ms"]) for each in rounds])
        verdict = judge(ratio["ci95"], TTFT_RATIO)
        rows.append(_row(name, "others' TTFT p99, ratio", ratio["median"], TTFT_RATIO) | {"verdict": verdict, **ratio})
        stop_ms = _all(rounds, lambda each: each["abused"]["stop_ms"])
        rows.append(_row(name, "others' stop p50", statistics.median(stop_ms), FAST_MS, "ms"))
        rows.append(_row(name, "others' chats that failed", sum(each["abused"]["failed"] for each in rounds), 0))
        if readers := sum(each.get("readers", 0) for each in rounds):
            rows.append(_row(name, "readers without a stream", readers - _opened(rounds), 0))
        if refusal_ms := _all(rounds, lambda each: each.get("refusal_ms", [])):
            rows.append(_row(name, "refusal p99", _p99(refusal_ms), FAST_MS, "ms"))
            allowed = sum(each["lasted_s"] * starts_per_s + starts_per_s for each in rounds)
            rows.append(_row(name, "upstreams opened / allowed", _opened(rounds) / allowed, 1.0))
    return rows


def recovery_s(stops: Sequence[tuple[float, float]]) -> float:
    """When the last stop that was not normal ended, in s after the end of the slow time; at least 0.

    `stops`: when it was pressed (s after that end), and how long it took (ms).
    """
    ended = [(pressed_s + took_ms / 1000, took_ms) for pressed_s, took_ms in stops]
    p95_ms = statistics.quantiles([took_ms for end_s, took_ms in ended if end_s < -SLOW_S], n=20, method="inclusive")[
        18
    ]
    limit_ms = max(NORMAL_RATIO * p95_ms, p95_ms + NORMAL_MS)
    return max((end_s for end_s, took_ms in ended if end_s > 0 and took_ms > limit_ms), default=0.0)


def _row(part: str, name: str, value: float, at_most: float | None, unit: str = "") -> Row:
    verdict = "" if at_most is None else "met" if value <= at_most else "missed"
    return {"part": part, "name": name, "value": value, "unit": unit, "at_most": at_most, "verdict": verdict}


def _all(rounds: Sequence[Row], pick: Callable[[Row], list[float]]) -> list[float]:
    return [value for each in rounds for value in pick(each)]


def _opened(rounds: Sequence[Row]) -> int:
    return sum(each["opened"] for each in rounds)


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]
