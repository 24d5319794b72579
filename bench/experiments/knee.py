"""The knee: the rate at which a service no longer stops in time, found by doubling, bisection and repetition; pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

STEPS = 8
"""Rates per doubling: they are 9 % apart, finer than one probe can be repeated."""
REPEATS = 6
"""At the knee a probe holds half of the time, so 6 of 6 that hold (or fail) lie beyond it by chance in 1 of 64 cases:
sign test, both ends together 3.1 %, hence a 95 % interval (Conover, Practical Nonparametric Statistics, 3rd ed.,
section 3.4)."""
LIMIT_PROBES = 3
"""Probes of the lowest rate for the limit: a single p99 is the two or three slowest stops of a few seconds."""
MAX_FAILED_SHARE = 0.01
MAX_UNHEALTHY = 2

Ended = Literal["slow", "missed", "failed", "load", "time"]
Verdict = Ended | Literal["held"]


@dataclass(frozen=True)
class Probe:
    """Measurement of one rate: p99 of upstream_stop_ms (None without a stop), chats, missed aborts, chats or aborts
    that failed or were refused, and why the instrument was unhealthy.
    """

    p99_ms: float | None
    chats: int
    missed: int = 0
    failed: int = 0
    unhealthy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Knee:
    """The knee in chats per second; `limit_ms` is the limit of the p99.

    `ended_by`: the p99 was `slow`, aborts were `missed`, chats `failed`; or the knee was not reached, since the `load`
    (for the reason in `why`) or the `time` ended first: then `chats_per_s` is the highest rate that held. `ci95` is
    None where an end was not shown; `shown` is its lower end where only that one was.
    """

    chats_per_s: float
    ci95: tuple[float, float] | None
    limit_ms: float
    ended_by: Ended
    why: str = ""
    shown: float | None = None

    @property
    def censored(self) -> bool:
        """Whether the knee lies at `chats_per_s` or anywhere above."""
        return self.ended_by in ("load", "time")


def rates(first: float, most: float) -> list[int]:
    """The rates that may be tried, chats/s: whole numbers from `first` up to at most `most`, STEPS to a doubling."""
    count = math.floor(STEPS * math.log2(most / first) + 1e-9)
    return list(dict.fromkeys(round(first * 2 ** (step / STEPS)) for step in range(count + 1)))


def judge(probe: Probe, limit_ms: float) -> Verdict:
    """Whether the service held a rate; `load`, before all others, when the instrument was unhealthy."""
    if probe.unhealthy:
        return "load"
    if probe.missed:
        return "missed"
    if probe.p99_ms is None or probe.failed > MAX_FAILED_SHARE * probe.chats:
        return "failed"
    return "slow" if probe.p99_ms > limit_ms else "held"


def find_knee(
    probe: Callable[[int], Probe],
    at: Sequence[int],
    *,
    slack_ms: float,
    repeats: int = REPEATS,
    more: Callable[[], bool] = lambda: True,
) -> Knee:
    """Find the knee among the rates `at` (ascending, see `rates`); `probe` measures one of them.

    The limit is the strategy's own p99 at the first rate (median of LIMIT_PROBES) plus `slack_ms`, so that a timer is
    not held to what a push can do. No probe but the first begins once `more` is false. `repeats=0`: no interval.
    """
    lowest = [probe(at[0])]
    while len(lowest) < LIMIT_PROBES and more():
        lowest.append(probe(at[0]))
    usable = [each for each in lowest if not each.unhealthy] or lowest
    limit_ms = median(each.p99_ms or 0.0 for each in usable) + slack_ms
    verdicts = [judge(each, limit_ms) for each in usable]
    failures = [verdict for verdict in verdicts if verdict != "held"]
    if 2 * len(failures) > len(verdicts):
        return Knee(0.0, None, round(limit_ms, 2), failures[0], "; ".join(usable[0].unhealthy[:1]))
    search = _Search(probe, at, limit_ms, more, f"the load can offer no more than {at[-1]} chats/s on this machine")
    low, high, ended = search.bracket()
    point, ci95, why, shown = float(at[low]), None, "", None
    if high is not None and ended != "load":
        point = math.sqrt(at[low] * at[high])
        if repeats and (below := search.shown(low, -1, repeats)) and (above := search.shown(high, +1, repeats)):
            ci95 = below, above
    elif ended == "load":
        why = search.why  # of the search, not of its repetition
        shown = search.shown(low, -1, repeats) if repeats else None
    return Knee(round(point, 1), ci95, round(limit_ms, 2), ended, why, shown)


@dataclass
class _Search:
    """The probes of one search; rates are given by their position. `why`: the reason if the load ends it."""

    probe: Callable[[int], Probe]
    at: Sequence[int]
    limit_ms: float
    more: Callable[[], bool]
    why: str

    def bracket(self) -> tuple[int, int | None, Ended]:
        """The highest rate that held, the one above it that did not (None without one), and what ended it."""
        low, high = 0, len(self.at)
        ended: Ended = "load"
        while high - low > 1:
            place = min(low + STEPS, len(self.at) - 1) if high == len(self.at) else (low + high) // 2
            verdict = self._look(place)
            if verdict == "held":
                low = place
            elif verdict == "time":
                return low, None, "time"
            else:
                high, ended = place, verdict
        return low, None if high == len(self.at) else high, ended

    def shown(self, place: int, step: int, repeats: int) -> float | None:
        """The first rate from here on at which `repeats` probes in a row held (step -1) or failed (+1), or None."""
        alike, unhealthy = 0, 0
        while alike < repeats:
            verdict = self._look(place)
            if verdict == "load":
                unhealthy += 1
            elif (verdict == "held") == (step < 0):
                alike += 1
            else:
                place, alike = place + step, 0
            if verdict == "time" or unhealthy > MAX_UNHEALTHY or not 0 <= place < len(self.at):
                return None
        return float(self.at[place])

    def _look(self, place: int) -> Verdict:
        """Probe once; a second time when the instrument was unhealthy, which may have been a hiccup."""
        for _ in range(2):
            if not self.more():
                return "time"
            probe = self.probe(self.at[place])
            verdict = judge(probe, self.limit_ms)
            if verdict != "load":
                break
            self.why = probe.unhealthy[0]
        return verdict
