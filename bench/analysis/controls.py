"""Controls: results that are known in advance, for any strategy; one that does not hold is a warning of the run."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from bench.analysis.blocks import BlockValues
from bench.analysis.comparison import ALPHA, NEEDS, STOP, Comparison, corrected, verdict
from bench.analysis.reading import CaseKey
from bench.record.summary import Control, SummaryCase
from bench.workload.strategies import NONE, is_contender

NOISE_SHARE, NOISE_MS = 0.02, 1.0
"""A difference below either does not count, however significant: a store may cost that much, and no reader sees it."""
UNSTOPPED = (("ttft_unstopped_ms", "time to the first token"), ("itl_unstopped_ms", "time between tokens"))
QUICK = "memory-push"
NONE_LAST = "none ranks last"


def controls_of(cases: Sequence[SummaryCase], values: BlockValues, floor_spread: float | None = None) -> list[Control]:
    """The controls of a run; `holds` is None where the run cannot show it."""
    keys = [case.key for case in cases]
    by_load: dict[tuple[str, int, int], list[CaseKey]] = defaultdict(list)
    for key in keys:
        by_load[key[1:]].append(key)
    found: list[Control] = []
    for load in by_load.values():
        for metric, text in UNSTOPPED:
            found += _same_for_all(load, values, metric, text)
    found += _none_last([case for case in cases if case.strategy == NONE and case.aborts])
    for key in keys:
        if key.strategy == QUICK and key.workers == 1:
            found += _memory_push_first(key, keys, values, floor_spread)
    return found


def _same_for_all(keys: Sequence[CaseKey], values: BlockValues, metric: str, text: str) -> Iterator[Control]:
    """Chats without an abort: every strategy is compared with `none` (or the first there is).

    It differs when that is significant (Holm within this control) and larger than NOISE_SHARE and NOISE_MS.
    """
    known = [key for key in keys if (key, metric) in values]
    if len(known) < 2:
        return
    base = next((key for key in known if key.strategy == NONE), known[0])
    compared = _against(base, known, values, metric)
    where = f"{text} of chats without an abort, in {_load(base)}"
    name = f"{metric.removesuffix('_unstopped_ms')} of unstopped chats: {_load(base)}"
    if not compared:
        yield Control(name=name, says=f"{where}: unknown, {NEEDS}")
        return
    differs = [
        f"{key.strategy} ({each.shift:+.2f} ms)"
        for key, each, p_holm in compared
        if p_holm < ALPHA and _beyond_noise(each)
    ]
    largest_key, largest, _p = max(compared, key=lambda each: abs(each[1].shift))
    says = (
        f"{where}, differs from {base.strategy}'s: {', '.join(differs)}"
        if differs
        else f"{where}, is {base.strategy}'s for all others but for noise"
        f" (at most {largest.shift:+.2f} ms, {largest_key.strategy})"
    )
    yield Control(name=name, holds=not differs, says=says)


def _against(
    base: CaseKey, keys: Sequence[CaseKey], values: BlockValues, metric: str
) -> list[tuple[CaseKey, Comparison, float]]:
    """Each of `keys` against `base`, with p corrected over these; only those of enough blocks."""
    pairs = ((key, base, values[key, metric], values[base, metric]) for key in keys if key != base)
    return [(key, each, p_holm) for key, _base, each, p_holm in corrected(pairs) if p_holm is not None]


def _beyond_noise(compared: Comparison) -> bool:
    return abs(compared.shift) > NOISE_MS and (compared.ratio is None or abs(compared.ratio - 1) > NOISE_SHARE)


def _none_last(cases: Sequence[SummaryCase]) -> Iterator[Control]:
    if cases:
        aborts = sum(case.aborts for case in cases)
        stopped = aborts - sum(case.missed for case in cases)
        says = f"none stopped {stopped} of {aborts} aborted chats" + ("" if stopped else ", so it ranks last")
        yield Control(name=NONE_LAST, holds=stopped == 0, says=says)


def _memory_push_first(
    quick: CaseKey, keys: Sequence[CaseKey], values: BlockValues, floor_spread: float | None
) -> Iterator[Control]:
    """Within one process nothing is faster than an event: no contender of the scenario may stop significantly faster.

    With any number of workers: a run has `memory-push` on one worker as its control, and the contenders on two.
    """
    others = [
        key
        for key in keys
        if is_contender(key.strategy) and key.strategy != QUICK and key.scenario == quick.scenario
        if key.streams == quick.streams and (key, STOP) in values
    ]
    if (quick, STOP) not in values or not others:
        return
    name, where = f"{QUICK} is first with one worker: {_load(quick)}", _load(quick)
    compared = _against(quick, others, values, STOP)
    if not compared:
        yield Control(name=name, says=f"whether {QUICK} is first in {where}: unknown, {NEEDS}")
        return
    faster = [
        f"{key.strategy}{'' if key.workers == quick.workers else f' with {key.workers} workers'} ({each.shift:+.2f} ms)"
        for key, each, p_holm in compared
        if verdict(each, p_holm, floor_spread) == "faster"
    ]
    says = (
        f"in {where}, {QUICK} is not first: faster is {', '.join(faster)}"
        if faster
        else f"in {where}, no contender stops faster than {QUICK}"
    )
    yield Control(name=name, holds=not faster, says=says)


def _load(key: CaseKey) -> str:
    return f"{key.scenario} ({key.workers} worker{'s' if key.workers != 1 else ''}, {key.streams} streams)"
