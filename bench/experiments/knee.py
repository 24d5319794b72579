"""The knee: the rate at which a service no longer stops in time, found by doubling, bisection and repetition; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

STEPS = 8
"""Rates lie so many to a doubling: 9 % apart, finer than one probe is repeatable."""
REPEATS = 6
"""At the knee a probe holds as often as not. So 6 of 6 that hold (or do not) lie beyond it by chance in 1 of 64 cases:
sign test, both ends together 3.1 %, which makes the interval one of 95 % (Conover, Practical Nonparametric Statistics,
3rd ed., section 3.4)."""
LIMIT_PROBES = 3
"""How often the lowest rate is probed for the limit: a single p99 is the two or three worst stops of a few seconds."""
MAX_FAILED_SHARE = 0.01
ILL_TOLERATED = 2

Verdict = Literal["held", "slow", "missed", "failed", "load"]
Ended = Literal["slow", "missed", "failed", "load", "time"]


@dataclass(frozen=True)
class Probe:
    """What a rate gave: p99 of upstream_stop_ms (None: nothing was stopped), chats in all, aborts missed, chats or
    aborts that failed or were refused, and `ill`: why the instrument cannot be believed, in words.
    """

    p99_ms: float | None
    chats: int
    missed: int = 0
    failed: int = 0
    ill: tuple[str, ...] = ()


@dataclass(frozen=True)
class Knee:
    """Where it lies, in chats per second. `limit_ms` is what the p99 had to keep.

    `ended_by`: the p99 was `slow`, aborts were `missed`, chats `failed`; or the service's knee was not found: the
    `load` (that is, the instrument, told in `why`) gave up first, or `time` was over. Then `chats_per_s` is only a rate
    that held: the knee is at least there. `ci95` is None where an end could not be shown; `shown` is the lower end of
    an interval without an upper one, when the load gave up: a rate that held as often as the interval asks for.
    """

    chats_per_s: float
    ci95: tuple[float, float] | None
    limit_ms: float
    ended_by: Ended
    why: str = ""
    shown: float | None = None

    @property
    def censored(self) -> bool:
        """True when the knee is at least `chats_per_s`, and nobody knows where above it."""
        return self.ended_by in ("load", "time")


class _TimeOver(Exception):  # noqa: N818 - reads as what happened
    pass


def rates(first: float, most: float) -> list[int]:
    """The rates that may be tried, chats/s: whole numbers from `first` up to at most `most`, STEPS to a doubling."""
    count = math.floor(STEPS * math.log2(most / first) + 1e-9)
    return list(dict.fromkeys(round(first * 2 ** (step / STEPS)) for step in range(count + 1)))


def judge(probe: Probe, limit_ms: float) -> Verdict:
    """Whether the service held a rate. An instrument that was not well is the verdict before all others."""
    if probe.ill:
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

    The limit is the strategy's own p99 at the first rate (the median of LIMIT_PROBES) and `slack_ms`: a timer that is
    late by design is not held to what a push can do, both may get so much slower. `more` is asked before each probe
    but the first; when it says no, what is known by then is the answer. `repeats=0` gives no interval.
    """
    lowest = [probe(at[0])]
    while len(lowest) < LIMIT_PROBES and more():
        lowest.append(probe(at[0]))
    usable = [each for each in lowest if not each.ill] or lowest
    limit_ms = median(each.p99_ms or 0.0 for each in usable) + slack_ms
    verdicts = [judge(each, limit_ms) for each in usable]
    ended_at_once = [verdict for verdict in verdicts if verdict != "held"]
    if 2 * len(ended_at_once) > len(verdicts):
        return Knee(0.0, None, round(limit_ms, 2), ended_at_once[0], "; ".join(usable[0].ill[:1]))
    search = _Search(probe, at, limit_ms, more)
    low, high, ended = search.bracket()
    known = not (high is None or ended in ("load", "time"))
    point = math.sqrt(at[low] * at[high]) if known and high is not None else float(at[low])
    ci95 = search.interval(low, high, repeats) if known and high is not None and repeats else None
    why = search.why if ended == "load" else ""
    shown = search.held(low, repeats) if ended == "load" and repeats else None
    return Knee(round(point, 1), ci95, round(limit_ms, 2), ended, why, shown)


class _Search:
    """The probes of one search; rates are named by their place."""

    def __init__(
        self, probe: Callable[[int], Probe], at: Sequence[int], limit_ms: float, more: Callable[[], bool]
    ) -> None:
        self._probe = probe
        self._at = at
        self._limit_ms = limit_ms
        self._more = more
        self.why = f"the load can offer no more than {at[-1]} chats/s on this machine"

    def bracket(self) -> tuple[int, int | None, Ended]:
        """The highest place that held, the one above it that did not (None: there is none), and what ended it."""
        low, high, ended = 0, len(self._at), "load"
        step = STEPS
        try:
            while high - low > 1:
                place = min(low + step, len(self._at) - 1) if high == len(self._at) else (low + high) // 2
                verdict = self._look(place)
                if verdict == "held":
                    low = place
                else:
                    high, ended = place, verdict
        except _TimeOver:
            return low, None, "time"
        return low, None if high == len(self._at) else high, ended  # type: ignore[return-value]

    def interval(self, low: int, high: int, repeats: int) -> tuple[float, float] | None:
        """A rate below the knee and one above it, each shown by repetition, or None."""
        try:
            below = self._shown(low, -1, repeats)
            above = None if below is None else self._shown(high, +1, repeats)
        except _TimeOver:
            return None
        return None if below is None or above is None else (float(self._at[below]), float(self._at[above]))

    def held(self, low: int, repeats: int) -> float | None:
        """The highest rate, from the one that held downwards, that holds `repeats` times in a row; None without one."""
        why = self.why
        try:
            place = self._shown(low, -1, repeats)
        except _TimeOver:
            place = None
        self.why = why
        return None if place is None else float(self._at[place])

    def _shown(self, place: int, step: int, repeats: int) -> int | None:
        """The first place from here on where `repeats` probes in a row held (downwards) or did not (upwards)."""
        alike, ill = 0, 0
        while alike < repeats:
            verdict = self._look(place)
            if verdict == "load":
                ill += 1
                if ill > ILL_TOLERATED:
                    return None
            elif (verdict == "held") == (step < 0):
                alike += 1
            else:
                place, alike = place + step, 0
                if not 0 <= place < len(self._at):
                    return None
        return place

    def _look(self, place: int) -> Verdict:
        """One probe; when the instrument was not well, which may have been a hiccup, one more."""
        for _ in range(2):
            if not self._more():
                raise _TimeOver
            probe = self._probe(self._at[place])
            verdict = judge(probe, self._limit_ms)
            if verdict != "load":
                break
            self.why = probe.ill[0]
        return verdict
