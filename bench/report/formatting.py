"""Figures in words: short numbers, shares, intervals, lists; used by every sentence and table of the reports."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.stats.paired import MIN_BLOCKS
from bench.stats.spread import Mean, block_ends
from bench.workload.strategies import is_special

Case = dict[str, Any]


def number(value: float | None) -> str:
    """Three significant digits, two below 0.1 (`0.012`, `1.02`, `51.0`, `1,740`); a dash for None."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:
        return f"{rounded:,.0f}"
    return f"{rounded:#.3g}" if abs(rounded) >= 0.1 else f"{rounded:#.2g}"


def share(part: int, whole: int) -> str:
    """`49 %`, with `under 1 %` and `over 99 %` instead of a rounded-away rest."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 1:
        return "under 1 %"
    return "over 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def span(counts: Sequence[int]) -> str:
    """`360`, or `336 to 1,360`."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def join(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def more_scenarios(manifest: Mapping[str, Any], *names: str) -> str:
    """The command that measures this run's scenarios and those, too: `make bench SCENARIO=flowing,steady,outage`."""
    own = [name for name in manifest.get("scenarios") or {} if not is_special(name)]
    return f"make bench SCENARIO={','.join(dict.fromkeys([*own, *names]))}"


def interval(ends: Sequence[float] | None) -> str:
    """` [1.98 to 2.11]`, to stand behind a figure; nothing when there is no interval."""
    return f" [{number(ends[0])} to {number(ends[1])}]" if ends else ""


def measured(case: Case, metric: str = "upstream_stop_ms", key: str = "p50") -> str:
    """`2.05 ms [1.98 to 2.11]`: a value of the summary with its 95 % interval, where there is one."""
    unit = "ms" if metric.endswith("_ms") else "µs" if "_us_" in metric else ""
    described = case["metrics"].get(metric, {})
    ends = (described.get("ci95") or {}).get(key)
    text = f"{number(described.get(key))} {unit}".strip()
    return text + interval(ends)


def mean_words(mean: Mean, unit: str = "") -> str:
    """`2.05 ms [1.98 to 2.11]`."""
    return f"{number(mean.mean)} {unit}".strip() + interval((mean.low, mean.high))


def block_words(values: Sequence[float]) -> str:
    """`1.02 [1.00 to 1.04]`: the mean over blocks, with its interval from five blocks on."""
    return number(statistics.fmean(values)) + interval(block_ends(values))


def spread_words(blocks: int) -> str:
    """What marker and lines of a chart over so many blocks are."""
    if blocks < 2:
        return "one block: no spread known"
    thick = ", thick: 95 % interval" if blocks >= MIN_BLOCKS else ""
    return f"n = {blocks} blocks: mean, line: lowest to highest{thick}"
