"""The sentences under the charts of how a stop goes: tail, parts of the way, tokens' pace, single chats."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis.parts import WORDS, Parts
from bench.report.formatting import Case, interval, join, mean_words, measured, number
from bench.stats.percentiles import interval95


def tail_reading(cases: Sequence[Case]) -> str:
    """The 99th (else the 95th) percentile of the quickest and the slowest, in the scenario where they part most."""
    for key, words in (("p99", "1 stop in 100"), ("p95", "1 stop in 20")):
        best: tuple[float, Case, Case] | None = None
        for scenario in dict.fromkeys(case["scenario"] for case in cases):
            timed = [case for case in cases if case["scenario"] == scenario and _stop(case, key)]
            timed.sort(key=lambda case: _stop(case, key) or 0.0)
            if len(timed) > 1 and (best is None or _ratio(timed, key) > best[0]):
                best = _ratio(timed, key), timed[0], timed[-1]
        if best:
            _much, low, high = best
            return (
                f"In {low['scenario']}, {words} takes {measured(low, key=key)} or longer with {low['strategy']}, and"
                f" {measured(high, key=key)} with {high['strategy']}."
            )
    return "No two strategies have stopped enough chats in one scenario for a tail (72 are needed for 1 in 20)."


def where_reading(scenario: str, parts: Mapping[str, Parts]) -> str:
    """The largest part of the quickest and of the slowest strategy, and what comes after it; `parts` by strategy."""
    ranked = sorted(parts, key=lambda name: parts[name].whole.mean)
    sentences = []
    for name in dict.fromkeys([ranked[0], ranked[-1]]):
        own = parts[name]
        most, words = max(zip(own.each, WORDS.values(), strict=True), key=lambda part: part[0].mean)
        sentences.append(
            f"with {name} most of the {mean_words(own.whole, 'ms')} passes while {words} ({mean_words(most, 'ms')})"
        )
    # Negative where the client saw the end before the witness did: both follow from the signal.
    known = sorted((own.client, name) for name, own in parts.items() if own.client)
    ends = {mean_words(client, "ms"): name for client, name in [*known[-1:], *known[:1]]}
    after = join([f"{words} after the upstream with {name}" for words, name in ends.items()])
    tail = f"; the client sees the end {after}" if ends else ""
    return f"In {scenario}, {join(sentences)}{tail}."


def lanes_reading(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Which of these chats was quickest, which slowest, and how many tokens came in between."""
    stops = {}
    for strategy, row in rows.items():
        if row["witness"]["lost_ns"] is not None:
            sent_ns = row["abort"]["sent_ns"]
            wasted = sum(token > sent_ns for token in row["witness"]["token_ns"])
            stops[strategy] = ((row["witness"]["lost_ns"] - sent_ns) / 1e6, wasted)
    if not stops:
        return "None of these chats was stopped."
    ranked = sorted(stops, key=lambda strategy: stops[strategy])
    words = []
    for name in dict.fromkeys([ranked[0], ranked[-1]]):
        stop_ms, wasted = stops[name]
        words.append(f"after {number(stop_ms)} ms and {wasted} wasted token{'s' if wasted != 1 else ''} with {name}")
    return (
        f"Of these real chats the upstream was gone {join(words)}; tokens with a red cross were written after Stop was"
        " pressed."
    )


def gap_reading(pairs: Mapping[str, Sequence[tuple[float, ...]]], itl_ms: float) -> str:
    """How the median stop of the first and the last quarter of the gap differ: most and least, by strategy."""
    changes, quarters = {}, {}
    for strategy, each in pairs.items():
        early = [stop for since, stop in each if since < itl_ms / 4]
        late = [stop for since, stop in each if since >= 3 * itl_ms / 4]
        if min(len(early), len(late)) >= 5:
            changes[strategy] = (statistics.median(early), statistics.median(late))
            quarters[strategy] = [
                f"{number(statistics.median(part))} ms{interval(interval95(part, 0.5))}" for part in (early, late)
            ]
    if not changes:
        return "Too few aborts fell into the first and into the last quarter of a gap to compare them."
    most = max(changes, key=lambda name: changes[name][0] / max(changes[name][1], 1e-9))
    least = min(changes, key=lambda name: abs(changes[name][0] / max(changes[name][1], 1e-9) - 1))
    text = (
        f"Pressed in the first quarter of the gap between two tokens, Stop takes {quarters[most][0]} at the median with"
        f" {most}, in the last quarter {quarters[most][1]}"
    )
    if least == most:
        return text + "."
    return text + f"; it matters least with {least}: {quarters[least][0]} and {quarters[least][1]}."


def pace_reading(points: Mapping[str, Sequence[tuple[float, ...]]]) -> str:
    """Whose median grows most and whose least from the fastest tokens to the slowest."""
    whole = {name: (each[0], each[-1]) for name, each in points.items() if len(each) > 1 and each[0][1] > 0}
    if not whole:
        return "No strategy has a median at two paces, so there is nothing to compare."
    ranked = sorted(whole, key=lambda name: whole[name][1][1] / whole[name][0][1])
    words = [
        f"from {' to '.join(f'{number(each[1])} ms{interval(each[2:])}' for each in whole[name])} with {name}"
        for name in dict.fromkeys([ranked[-1], ranked[0]])
    ]
    slow, fast = whole[ranked[-1]][1][0], whole[ranked[-1]][0][0]
    return f"With a token each {slow:g} ms in place of each {fast:g} ms, the median stop goes {join(words)}."


def _ratio(ranked: Sequence[Case], key: str) -> float:
    return (_stop(ranked[-1], key) or 0.0) / (_stop(ranked[0], key) or 1.0)


def _stop(case: Case, key: str) -> float | None:
    value: float | None = case["metrics"].get("upstream_stop_ms", {}).get(key)
    return value
