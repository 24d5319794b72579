"""The cases of a summary as tables and charts show them; `analysis.ranking` has what also decides the advice."""

from collections.abc import Iterable, Sequence

from bench.analysis.comparison import STOP
from bench.analysis.ranking import interval_of, ranked, value_of
from bench.record.summary import SummaryCase

CPU = "server_cpu_us_per_token"
OPS = "store_ops_per_token"
WASTE = "wasted_tokens"
PRICE_USD_PER_M_TOKENS = 10.0
"""Assumed: OpenAI's list price of gpt-4o, $10.00 per million output tokens (its pricing page, 2025 and 2026)."""


def overlap(one: SummaryCase, other: SummaryCase, metric: str = STOP) -> bool:
    """Whether the 95 % intervals of the two medians overlap; cases without an interval do not."""
    mine, theirs = interval_of(one, metric), interval_of(other, metric)
    return bool(mine and theirs and mine[0] <= theirs[1] and theirs[0] <= mine[1])


def missed_of(cases: Iterable[SummaryCase], strategy: str) -> tuple[int, int]:
    """`(missed, aborts)` of this strategy over all the cases."""
    own = [case for case in cases if case.strategy == strategy]
    return sum(case.missed for case in own), sum(case.aborts for case in own)


def furthest(cases: Sequence[SummaryCase], key: str) -> tuple[float, SummaryCase, SummaryCase] | None:
    """`(ratio, quickest, slowest)` of the scenario in which this percentile of the stop differs most."""
    found = []
    for scenario in dict.fromkeys(case.scenario for case in cases):
        timed = ranked((case for case in cases if case.scenario == scenario), key)
        if len(timed) > 1 and (least := value_of(timed[0], key=key)):
            found.append(((value_of(timed[-1], key=key) or 0.0) / least, timed[0], timed[-1]))
    return max(found, key=lambda each: each[0], default=None)
