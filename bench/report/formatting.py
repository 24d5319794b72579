"""Numbers as text: short figures, shares, intervals and lists, for every sentence, table and chart of the reports."""

import statistics
from collections.abc import Sequence

from bench.analysis.comparison import STOP
from bench.analysis.ranking import interval_of, value_of
from bench.record.manifest import Manifest
from bench.record.summary import SummaryCase
from bench.stats.paired import MIN_BLOCKS
from bench.stats.proportions import proportion_interval
from bench.stats.spread import Mean, block_ends
from bench.workload.strategies import is_special


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


def dollars(value: float) -> str:
    """`1.00`, `27` or `1,361`: an amount in dollars."""
    return number(value) if 0 < value < 0.005 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def share(part: int, whole: int) -> str:
    """`49 %`, with `under 1 %` and `over 99 %` where rounding would hide a rest."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 1:
        return "under 1 %"
    return "over 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def missed_share(missed: int, aborts: int) -> str:
    """`0 of 656 aborts missed (at most 0.56 %)`, or `163 of 360 aborts missed (45 % [40 to 51 %])`."""
    low, high = (100 * end for end in proportion_interval(missed, aborts))
    bound = f"{100 * missed / aborts:.0f} % [{low:.0f} to {high:.0f} %]" if missed else f"at most {number(high)} %"
    return f"{missed:,} of {aborts:,} aborts missed ({bound})"


def span(counts: Sequence[int]) -> str:
    """`360`, or `336 to 1,360`."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def listed(words: Sequence[object]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *rest, last = map(str, words)
    return f"{', '.join(rest)} and {last}" if rest else last


def plural(count: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def interval(ends: Sequence[float] | None) -> str:
    """` [1.98 to 2.11]`, to follow a figure; empty without an interval."""
    return f" [{number(ends[0])} to {number(ends[1])}]" if ends else ""


def measured(case: SummaryCase, metric: str = STOP, key: str = "p50") -> str:
    """`2.05 ms [1.98 to 2.11]`: a statistic of the summary with its 95 % interval, where there is one."""
    unit = "ms" if metric.endswith("_ms") else "µs" if "_us_" in metric else ""
    return f"{number(value_of(case, metric, key))} {unit}".strip() + interval(interval_of(case, metric, key))


def values(case: SummaryCase, metric: str = STOP, *keys: str) -> str:
    """`2.05 / 4.10`: statistics of a metric, by default its median."""
    return " / ".join(number(value_of(case, metric, key)) for key in keys or ("p50",))


def percent(value: float | None) -> str:
    """`49 %`, of a share."""
    return "-" if value is None else share(round(value * 1000), 1000)


def mean_text(mean: Mean, unit: str = "") -> str:
    """`2.05 ms [1.98 to 2.11]`."""
    return f"{number(mean.mean)} {unit}".strip() + interval((mean.low, mean.high))


def block_mean(values: Sequence[float]) -> str:
    """`1.02 [1.00 to 1.04]`: the mean over blocks, with its interval from MIN_BLOCKS blocks on."""
    return number(statistics.fmean(values)) + interval(block_ends(values))


def block_legend(blocks: int) -> str:
    """What marker and lines of a chart over this number of blocks show."""
    if blocks < 2:
        return "one block: spread unknown"
    return f"n = {blocks} blocks: mean, line: lowest to highest{', thick: 95 % interval' * (blocks >= MIN_BLOCKS)}"


def bench_command(manifest: Manifest, *scenarios: str) -> str:
    """The command that measures this run's scenarios and `scenarios`: `make bench SCENARIO=flowing,steady,outage`."""
    own = [name for name in manifest.scenarios if not is_special(name)]
    return f"make bench SCENARIO={','.join(dict.fromkeys([*own, *scenarios]))}"


def repeat_command(manifest: Manifest) -> str:
    """The command of a run like this one; empty for a run of another command than `bench run`."""
    backend = manifest.settings.get("backend")
    if not backend:
        return ""
    words = [bench_command(manifest), f"BACKEND={backend}", f"WORKERS={manifest.settings.get('workers', 2)}"]
    words += ["QUICK=1"] * manifest.is_quick
    return " ".join([*words, f'ARGS="--seed {manifest.seed}"'] if manifest.seed is not None else words)
