"""Cases of a summary for the tests of the advice."""

from __future__ import annotations

from typing import Any

import msgspec

from bench.record.manifest import Manifest
from bench.record.summary import Summary, SummaryCase
from bench.report.advice import Advice, Answer, advise


def case(strategy: str, scenario: str = "flowing", p50: float | None = 2.0, **what: Any) -> SummaryCase:
    """A case of the summary: 300 aborts, an interval of 5 % around the median, p95 twice the median."""
    store, _, delivery = strategy.partition("-")
    ends = None if p50 is None else [p50 * 0.95, p50 * 1.05]
    p95 = None if p50 is None else p50 * 2
    stop = {"n": 300, "p50": p50, "p95": p95, "p99": None, "mean": p50,
            "ci95": {"p50": ends, "p95": p95 and [p95 * 0.95, p95 * 1.05], "p99": None}}  # fmt: skip
    cpu = {"n": 5, "p50": 60.0, "p95": None, "p99": None, "mean": 60.0, "ci95": {"p50": None, "p95": None, "p99": None}}
    steady = scenario == "steady"
    made = {
        "strategy": strategy, "store": store if delivery else None, "delivery": delivery or None, "scenario": scenario,
        "workers": 2, "streams": 50, "blocks": 6, "chats": 400, "aborts": 0 if steady else 300, "missed": 0,
        "errors": 0, "late": 0, "refused": 0,
        "metrics": {"server_cpu_us_per_token": cpu} if steady else {"upstream_stop_ms": stop}, **what,
    }  # fmt: skip
    return msgspec.convert(made, SummaryCase)


def summary(*cases: SummaryCase, valid: bool = True, **what: Any) -> Summary:
    return msgspec.convert({"valid": valid, "cases": list(cases), **what}, Summary)


def answer(advice: Advice, question: str) -> Answer:
    (found,) = [each for each in advice.answers if each.question == question]
    return found


def chosen(question: str, *cases: SummaryCase, **what: Any) -> tuple[str, ...]:
    return answer(advise(summary(*cases, **what), Manifest()), question).choice
