"""The sentence under each chart, computed from the summary's cases: what one sees, with no figure of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.report.formatting import Case, block_words, join, mean_words, measured, number
from bench.stats.proportions import proportion_interval
from bench.stats.spread import BlockValues, Mean, against

CPU = "server_cpu_us_per_token"


def stop_reading(cases: Sequence[Case]) -> str:
    """What the ECDF of one scenario shows: who is quickest, who is slowest, whose curve stays below 1."""
    timed = _ranked(cases, _median_stop)
    scenario = cases[0]["scenario"]
    if not timed:
        return f"In {scenario}, no strategy has stopped enough chats for a median (6 are needed)."
    best, worst = timed[0], timed[-1]
    text = f"In {scenario}, half of the stops came within {measured(best)} with {best['strategy']}"
    level = [case["strategy"] for case in timed[1:] if _overlap(best, case)]
    if level:
        text += f" (intervals overlap with {join(level)})"
    if worst is not best:
        text += f" and within {measured(worst)} with {worst['strategy']}, the slowest"
    short = [case for case in cases if case["missed"]]
    if not short:
        return text + "; no abort was missed, so every curve reaches 100 %."
    misses = [f"{case['strategy']} ({case['missed']} of {case['aborts']}, {_percent(case)})" for case in short]
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
        f"The strategies part most in {best['scenario']}: the median stop takes {measured(best)} with"
        f" {best['strategy']} and {measured(worst)} with {worst['strategy']}, about {number(ratio)} times as long."
    )


def waste_reading(scenario: str, means: Mapping[str, Mean]) -> str:
    """The cheapest, the dearest and the control, by mean tokens per abort in one scenario."""
    if not means:
        return "No abort was counted, so no token was wasted on one."
    ranked = sorted((name for name in means if name != "none"), key=lambda name: means[name].mean)
    parts = [f"{mean_words(means[name])} with {name}" for name in dict.fromkeys([*ranked[:1], *ranked[-1:]])]
    if "none" in means:
        parts.append(f"{mean_words(means['none'])} when nothing is stopped (none)")
    return f"In {scenario}, the mean of tokens wasted per abort is {join(parts)}, missed aborts included."


def cost_reading(values: BlockValues) -> str:
    """CPU per token of the dearest and cheapest strategy against `none`, store operations, and throughput."""
    base, others = values.get("none", {}), {name: each for name, each in values.items() if name != "none"}
    parts = []
    cpu = _over_blocks(others, base, CPU)
    if cpu:
        unit = " times" if base.get(CPU) else " µs"
        words = [f"{block_words(cpu[name])}{unit} with {name}" for name in dict.fromkeys([next(iter(cpu)), [*cpu][-1]])]
        parts.append(
            f"service CPU per token, against none, is {join(words)}"
            if base.get(CPU)
            else f"service CPU per token is {join(words)} (none was not run, so no ratio)"
        )
    stores = _over_blocks(others, {}, "store_ops_per_token")
    if stores:
        most = list(stores)[-1]
        parts.append(f"{most} uses its store most, {block_words(stores[most])} operations per token")
    pace = _over_blocks(others, base, "tokens_per_s") if base.get("tokens_per_s") else {}
    if pace:
        slowest = next(iter(pace))
        ratios = [100 * ratio for ratio in pace[slowest]]
        parts.append(f"the lowest throughput is {block_words(ratios)} % of none's ({slowest})")
    if not others:
        return "Only the control none was run, so there is nothing to compare."
    if not parts:
        return "Neither CPU nor store operations were measured."
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def _over_blocks(values: BlockValues, base: Mapping[str, Mapping[int, float]], metric: str) -> dict[str, list[float]]:
    """Strategy -> its value in each block, against the base's where there is one; by the mean, least first."""
    found = {name: against(each.get(metric, {}), base.get(metric, {})) for name, each in values.items()}
    return {name: found[name] for name in sorted(found, key=lambda name: sum(found[name]) / max(1, len(found[name])))
            if found[name]}  # fmt: skip


def _ranked(cases: Sequence[Case], value: Callable[[Case], float | None]) -> list[Case]:
    return sorted((case for case in cases if value(case) is not None), key=lambda case: value(case) or 0.0)


def _median_stop(case: Case) -> float | None:
    return _of(case, "upstream_stop_ms", "p50")


def _of(case: Case, metric: str, key: str) -> float | None:
    value: float | None = case["metrics"].get(metric, {}).get(key)
    return value


def _overlap(one: Case, other: Case) -> bool:
    (low, high), (other_low, other_high) = (case["metrics"]["upstream_stop_ms"]["ci95"]["p50"] for case in (one, other))
    return bool(low <= other_high and other_low <= high)


def _percent(case: Case) -> str:
    low, high = (100 * end for end in proportion_interval(case["missed"], case["aborts"]))
    return f"{low:.0f} to {high:.0f} %"
