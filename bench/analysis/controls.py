"""What must come out whatever the strategies do: where it does not, the run says so on top."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from bench.analysis.blocks import Values
from bench.analysis.comparison import ALPHA, NEEDS, STOP, Comparison, corrected, verdict
from bench.analysis.reading import CaseKey
from bench.workload.strategies import NONE, is_contender

NOISE_SHARE, NOISE_MS = 0.02, 1.0
"""A difference below either is no news, however surely it is there: nobody reads it, and a store may cost that much."""
UNSTOPPED = (("ttft_unstopped_ms", "time to the first token"), ("itl_unstopped_ms", "time between tokens"))
QUICK = "memory-push"
NONE_LAST = "none ranks last"
Case = dict[str, Any]
Control = dict[str, Any]


def controls_of(cases: Sequence[Case], values: Values, floor_spread: float | None = None) -> list[Control]:
    """`[{"name", "holds", "says"}]`; `holds` is None where the run cannot tell, and `says` is a sentence."""
    keys = [CaseKey(case["strategy"], case["scenario"], case["workers"], case["streams"]) for case in cases]
    by_load: dict[tuple[Any, ...], list[CaseKey]] = defaultdict(list)
    for key in keys:
        by_load[key[1:]].append(key)
    found: list[Control] = []
    for load in by_load.values():
        for metric, words in UNSTOPPED:
            found += _same_for_all(load, values, metric, words)
    found += _none_last([case for case in cases if case["strategy"] == NONE and case["aborts"]])
    for key in keys:
        if key.strategy == QUICK and key.workers == 1:
            found += _memory_push_first(key, keys, values, floor_spread)
    return found


def _same_for_all(keys: Sequence[CaseKey], values: Values, metric: str, words: str) -> Iterator[Control]:
    """Chats nobody aborted: a difference between strategies would be the load's or the machine's, or a dear strategy.

    Every strategy is compared with `none` (or the first there is): it differs when that is significant (Holm within
    this control) and larger than NOISE_SHARE and NOISE_MS.
    """
    known = [key for key in keys if (key, metric) in values]
    if len(known) < 2:
        return
    base = next((key for key in known if key.strategy == NONE), known[0])
    told = _against(base, known, values, metric)
    where = f"{words} of chats nobody aborted, in {_load(base)}"
    name = f"{metric.removesuffix('_unstopped_ms')} of unstopped chats: {_load(base)}"
    if not told:
        yield _control(name, None, f"{where}: cannot be told, {NEEDS}")
        return
    differs = [
        f"{key.strategy} ({each.shift:+.2f} ms)" for key, each, p_holm in told if p_holm < ALPHA and _beyond_noise(each)
    ]
    if differs:
        yield _control(name, False, f"{where}, differs from {base.strategy}'s: {', '.join(differs)}")
        return
    most_key, most, _p = max(told, key=lambda each: abs(each[1].shift))
    largest = f"at most {most.shift:+.2f} ms, {most_key.strategy}"
    yield _control(name, True, f"{where}, is {base.strategy}'s for all others but for noise ({largest})")


def _against(
    base: CaseKey, keys: Sequence[CaseKey], values: Values, metric: str
) -> list[tuple[CaseKey, Comparison, float]]:
    """Each of `keys` against `base`, with p corrected over these; only those of enough blocks."""
    pairs = ((key, base, values[key, metric], values[base, metric]) for key in keys if key != base)
    return [(key, each, p_holm) for key, _base, each, p_holm in corrected(pairs) if p_holm is not None]


def _beyond_noise(compared: Comparison) -> bool:
    return abs(compared.shift) > NOISE_MS and (compared.ratio is None or abs(compared.ratio - 1) > NOISE_SHARE)


def _none_last(cases: Sequence[Case]) -> Iterator[Control]:
    if not cases:
        return
    stopped = sum(case["aborts"] - case["missed"] for case in cases)
    aborts = sum(case["aborts"] for case in cases)
    says = f"none stopped {stopped} of {aborts} aborted chats" + ("" if stopped else ", so it ranks last")
    yield _control(NONE_LAST, stopped == 0, says)


def _memory_push_first(
    quick: CaseKey, keys: Sequence[CaseKey], values: Values, floor_spread: float | None
) -> Iterator[Control]:
    """In one process nothing is quicker than an event: no contender of the scenario may be seen to stop faster.

    With however many workers: a run has `memory-push` on one worker as its control, and the contenders on two.
    """
    others = [
        key
        for key in keys
        if is_contender(key.strategy) and key.strategy != QUICK and key.scenario == quick.scenario
        if key.streams == quick.streams and (key, STOP) in values
    ]
    if (quick, STOP) not in values or not others:
        return
    name = f"{QUICK} is first with one worker: {_load(quick)}"
    told = _against(quick, others, values, STOP)
    if not told:
        yield _control(name, None, f"whether {QUICK} is first in {_load(quick)} cannot be told, {NEEDS}")
        return
    faster = [
        f"{key.strategy}{_elsewhere(key, quick)} ({each.shift:+.2f} ms)"
        for key, each, p_holm in told
        if verdict(each, p_holm, floor_spread) == "faster"
    ]
    if faster:
        yield _control(name, False, f"in {_load(quick)}, {QUICK} is not first: faster is {', '.join(faster)}")
    else:
        yield _control(name, True, f"in {_load(quick)}, no contender stops faster than {QUICK}")


def _elsewhere(key: CaseKey, quick: CaseKey) -> str:
    return "" if key.workers == quick.workers else f" with {key.workers} workers"


def _load(key: CaseKey) -> str:
    return f"{key.scenario} ({key.workers} worker{'s' if key.workers != 1 else ''}, {key.streams} streams)"


def _control(name: str, holds: bool | None, says: str) -> Control:
    return {"name": name, "holds": holds, "says": says}
