"""What the clocks of load workers leave open: intervals get wider, and figures that are too uncertain are left out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

import msgspec

from bench.analysis.metrics import ChatMetrics
from bench.record.schema import CaseRow
from bench.record.summary import Interval, Metric, MetricIntervals, Part, SummaryCase
from bench.stats.percentiles import DIGITS

MOST = 0.10
"""Of a figure: where the clocks leave more than this open, the figure is left out."""
UNITS: Mapping[str, float] = {
    "upstream_stop_ms": 1.0, "upstream_stop_intended_ms": 1.0, "queue_ms": 1.0, "upstream_open_s": 1e-3,
}  # fmt: skip
"""The metrics that subtract a stamp of the load from one of the witness, and a millisecond in their unit."""
WASTE = "wasted_tokens"
FIGURES = ("p50", "p95", "p99", "mean")


def uncertainty(chats: Sequence[ChatMetrics], metric: str) -> float:
    """What the clocks leave open in every figure of a metric, in its unit; 0.0 where the clock is one.

    An offset moves all stamps of a worker by the same, so neither a percentile nor the mean is wrong by more than the
    largest uncertainty. Of tokens: the mean number of those written within the uncertainty of an abort.
    """
    if metric == WASTE:
        return fmean(each.clock_tokens for each in chats) if chats else 0.0
    return UNITS.get(metric, 0.0) * max((each.clock_ms for each in chats), default=0.0)


def carry(name: str, metric: Metric, uncertain: float) -> Metric:
    """The metric with its intervals widened on both sides, without the figures that are too uncertain.

    Of tokens only the mean: the percentiles of a count do not move by a part of one.
    """
    if not uncertain:
        return metric
    figures = ("mean",) if name == WASTE else FIGURES
    blank = [each for each in figures if too_uncertain(getattr(metric, each), uncertain)]
    ends = {
        each: None if each in blank else _wider(getattr(metric.ci95, each), uncertain if each in figures else 0.0)
        for each in MetricIntervals.__struct_fields__
    }
    found = msgspec.structs.replace(metric, ci95=MetricIntervals(**ends), **dict.fromkeys(blank))
    found.clock_uncertainty, found.blank = round(uncertain, 6), blank
    return found


def carry_part(part: Part, uncertain_ms: float) -> Part:
    """The same for a part of the stop that begins or ends at the load."""
    if not uncertain_ms:
        return part
    blank = [name for name in ("p50", "p95", "mean") if too_uncertain(getattr(part, name), uncertain_ms)]
    return msgspec.structs.replace(part, **dict.fromkeys(blank), clock_uncertainty=round(uncertain_ms, 6), blank=blank)


def too_uncertain(value: float | None, uncertain: float) -> bool:
    """Whether the uncertainty is more than MOST of the value."""
    return value is not None and uncertain > MOST * abs(value)


def left_out(cases: Iterable[SummaryCase]) -> Iterator[str]:
    """A line for each case with figures that were left out."""
    for case in cases:
        blank = [
            f"{name} {'/'.join(each.blank)} (uncertain by {each.clock_uncertainty:.2g})"
            for name, each in [*case.metrics.items(), *(case.waterfall or {}).items()]
            if each and each.blank
        ]
        if blank:
            yield (
                f"{case.strategy} in {case.scenario}: left out, since the clocks of the load workers leave more than"
                f" {MOST:.0%} open: {', '.join(blank)}"
            )


def jumps(rows: Iterable[CaseRow]) -> Iterator[str]:
    """A line for each clock that jumped."""
    for row in rows:
        for clock in row.clocks:
            if clock.problem:
                yield f"{row.strategy} in {row.scenario}: {clock.problem}"


def _wider(ends: Interval | None, by: float) -> Interval | None:
    return ends and (round(ends[0] - by, DIGITS), round(ends[1] + by, DIGITS))
