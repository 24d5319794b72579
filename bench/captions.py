"""The sentence under each chart, computed from the summary's cases: what one sees, with no figure of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.wording import Case, join, number


def stop_reading(cases: Sequence[Case]) -> str:
    """What the ECDF of one scenario shows: who is quickest, who is slowest, whose curve stays below 1."""
    timed = _ranked(cases, _median_stop)
    scenario = cases[0]["scenario"]
    if not timed:
        return f"In {scenario}, no strategy has stopped enough chats for a median (6 are needed)."
    best, worst = timed[0], timed[-1]
    text = f"In {scenario}, half of the stops came within {number(_median_stop(best))} ms with {best['strategy']}"
    level = [case["strategy"] for case in timed[1:] if _overlap(best, case)]
    if level:
        text += f" (intervals overlap with {join(level)})"
    if worst is not best:
        text += f" and within {number(_median_stop(worst))} ms with {worst['strategy']}, the slowest"
    short = [case for case in cases if case["missed"]]
    if not short:
        return text + "; no abort was missed, so every curve reaches 100 %."
    misses = [f"{case['strategy']} ({case['missed']} of {case['aborts']})" for case in short]
    return text + f"; curves that end below 100 % missed aborts: {join(misses)}."


def scenario_reading(cases: Sequence[Case]) -> str:
    """Where the strategies part most: the scenario with the largest ratio between slowest and quickest median."""
    spreads = []
    for scenario in dict.fromkeys(case["scenario"] for case in cases):
        timed = _ranked([case for case in cases if case["scenario"] == scenario], _median_stop)
        if len(timed) > 1 and (_median_stop(timed[0]) or 0) > 0:
            spreads.append(((_median_stop(timed[-1]) or 0) / (_median_stop(timed[0]) or 1), timed[0], timed[-1]))
    if not spreads:
        return "Fewer than two strategies stopped enough chats in one scenario, so there is nothing to compare."
    ratio, best, worst = max(spreads, key=lambda spread: spread[0])
    return (
        f"The strategies part most in {best['scenario']}: the median stop takes {number(_median_stop(best))} ms with"
        f" {best['strategy']} and {number(_median_stop(worst))} ms with {worst['strategy']},"
        f" {number(ratio)} times as long."
    )


def waste_reading(cases: Sequence[Case]) -> str:
    """The cheapest, the dearest and the control, by mean tokens per abort in one scenario."""
    ranked = _ranked(cases, _mean_waste)
    if not ranked:
        return "No abort was counted, so no token was wasted on one."
    control = next((case for case in ranked if case["strategy"] == "none"), None)
    contenders = [case for case in ranked if case is not control]
    parts = []
    if contenders:
        best, worst = contenders[0], contenders[-1]
        parts.append(f"{number(_mean_waste(best))} with {best['strategy']}")
        if worst is not best:
            parts.append(f"{number(_mean_waste(worst))} with {worst['strategy']}")
    if control:
        parts.append(f"{number(_mean_waste(control))} when nothing is stopped (none)")
    return f"In {ranked[0]['scenario']}, the mean of tokens wasted per abort is {join(parts)}, missed aborts included."


def cost_reading(cases: Sequence[Case]) -> str:
    """CPU per token of the dearest and cheapest strategy against `none`, store reads, and throughput."""
    control = next((case for case in cases if case["strategy"] == "none"), None)
    others = [case for case in cases if case is not control]
    cpu = _ranked(others, lambda case: _block_value(case, "server_cpu_us_per_token"))
    parts = []
    if cpu:
        base = _block_value(control, "server_cpu_us_per_token") if control else None
        names = [cpu[0], cpu[-1]] if len(cpu) > 1 else cpu
        costs = [(_block_value(case, "server_cpu_us_per_token") or 0, case["strategy"]) for case in names]
        if base:
            ratios = [f"{cost / base:.2f} times with {name}" for cost, name in costs]
            parts.append(f"service CPU per token, against none, is {join(ratios)}")
        else:
            absolute = [f"{number(cost)} µs with {name}" for cost, name in costs]
            parts.append(f"service CPU per token is {join(absolute)} (none was not run, so no ratio)")
    stores = _ranked(others, lambda case: _block_value(case, "store_ops_per_token"))
    if stores:
        most = stores[-1]
        operations = number(_block_value(most, "store_ops_per_token"))
        parts.append(f"{most['strategy']} uses its store most, {operations} operations per token")
    pace = _block_value(control, "tokens_per_s") if control else None
    slowest = _ranked(others, lambda case: _block_value(case, "tokens_per_s"))[:1]
    if pace and slowest:
        ratio = (_block_value(slowest[0], "tokens_per_s") or 0) / pace
        parts.append(f"the lowest throughput is {ratio:.0%} of none's ({slowest[0]['strategy']})".replace("%", " %"))
    if not others:
        return "Only the control none was run, so there is nothing to compare."
    if not parts:
        return "Neither CPU nor store operations were measured."
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def _ranked(cases: Sequence[Case], value: Callable[[Case], float | None]) -> list[Case]:
    return sorted((case for case in cases if value(case) is not None), key=lambda case: value(case) or 0.0)


def _median_stop(case: Case) -> float | None:
    return _of(case, "upstream_stop_ms", "p50")


def _mean_waste(case: Case) -> float | None:
    return _of(case, "wasted_tokens", "mean")


def _block_value(case: Case, metric: str) -> float | None:
    return _of(case, metric, "p50")


def _of(case: Case, metric: str, key: str) -> float | None:
    value: float | None = case["metrics"].get(metric, {}).get(key)
    return value


def _overlap(one: Case, other: Case) -> bool:
    (low, high), (other_low, other_high) = (case["metrics"]["upstream_stop_ms"]["ci95"]["p50"] for case in (one, other))
    return bool(low <= other_high and other_low <= high)
