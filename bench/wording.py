"""Figures in words: short numbers, shares, intervals, lists; used by every sentence and table of the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import binomtest

from bench.names import is_special

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


def proportion_interval(part: int, whole: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson 1934, by scipy's binomtest); (0, 1) when nothing counted.

    With none of n the upper end is what can be hidden in n: 0 of 300 may still be 1.2 %.
    """
    if not whole:
        return 0.0, 1.0
    ends: Any = binomtest(part, whole).proportion_ci(0.95, method="exact")
    return float(ends.low), float(ends.high)


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
