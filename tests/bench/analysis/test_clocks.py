"""What the clocks of load workers leave open is carried into the figures, or leaves them blank."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.analysis.clocks import carry, jumps, left_out, uncertainty
from bench.analysis.metrics import ChatMetrics, measure
from bench.analysis.summary import summarise_case
from bench.record.schema import AbortSide, CaseKey, CaseRow, ChatRow, ClientSide, LoadClock, WitnessSide
from bench.record.summary import Metric, MetricIntervals
from bench.stats.paired import MIN_BLOCKS

MS = 1_000_000
KEY = CaseKey("redis-push", "flowing", 2, 50)


def stopped(clock_ms: float, stop_ms: float = 2.0) -> ChatMetrics:
    return ChatMetrics("stopped", upstream_stop_ms=stop_ms, wasted_tokens=1, clock_ms=clock_ms)


def chat(uncertainty_ns: int) -> ChatRow:
    """Aborted 30 ms after its beginning and stopped 2 ms later; tokens every 10 ms."""
    tokens = [10 * MS, 20 * MS, 30 * MS]
    return ChatRow(
        strategy="redis-push", scenario="flowing", workers=2, streams=50, block=0, request_id="a",
        clock_uncertainty_ns=uncertainty_ns,
        client=ClientSide(sent_ns=1, status=200, token_ns=tokens, end_ns=32 * MS, finish_reason="abort"),
        abort=AbortSide(after_ms=30, sent_ns=30 * MS + 50_000, accepted_sent_ns=30 * MS + 50_000, tries=1, status=200),
        witness=WitnessSide(received_ns=2, token_ns=tokens, outcome="cut", lost_ns=32 * MS, planned_tokens=50),
    )  # fmt: skip


@pytest.mark.parametrize(("uncertainty_ns", "tokens"), [(0, 0), (40_000, 0), (60_000, 1)])
def test_a_token_within_the_uncertainty_of_the_abort_may_be_wasted(uncertainty_ns: int, tokens: int) -> None:
    found = measure(chat(uncertainty_ns))
    assert (found.outcome, found.clock_ms, found.clock_tokens) == ("stopped", uncertainty_ns / MS, tokens)


def test_the_worst_clock_counts_for_every_figure_that_subtracts_two_clocks() -> None:
    chats = [stopped(0.0), stopped(0.05), stopped(0.02)]
    assert uncertainty(chats, "upstream_stop_ms") == 0.05
    assert uncertainty(chats, "upstream_open_s") == 0.05 / 1000
    assert uncertainty(chats, "ttft_ms") == 0.0, "both stamps are the client's"
    assert uncertainty([replace(stopped(0.05), clock_tokens=1), stopped(0.05)], "wasted_tokens") == 0.5
    assert uncertainty([], "wasted_tokens") == uncertainty([], "upstream_stop_ms") == 0.0


def metric() -> Metric:
    return Metric(n=100, p50=2.0, p95=4.0, p99=None, mean=1.0, ci95=MetricIntervals(p50=(1.9, 2.1), p95=(3.5, 4.5)))


def test_intervals_are_wider_by_the_uncertainty_on_both_sides() -> None:
    found = carry("upstream_stop_ms", metric(), 0.1)
    assert found.ci95.p50 == pytest.approx((1.8, 2.2))
    assert found.ci95.p95 == pytest.approx((3.4, 4.6))
    assert (found.p50, found.p95, found.mean, found.clock_uncertainty, found.blank) == (2.0, 4.0, 1.0, 0.1, [])


def test_a_figure_is_blank_where_the_clocks_leave_more_than_a_tenth_open() -> None:
    found = carry("upstream_stop_ms", metric(), 0.21)
    assert (found.p50, found.ci95.p50, found.mean, found.p95) == (None, None, None, 4.0)
    assert found.blank == ["p50", "mean"], "and p99 had too few samples before"


def test_with_one_clock_nothing_changes() -> None:
    assert carry("upstream_stop_ms", metric(), 0.0) == metric()


def test_the_percentiles_of_a_count_of_tokens_stay() -> None:
    found = carry("wasted_tokens", metric(), 0.2)
    assert (found.p50, found.mean, found.blank) == (2.0, None, ["mean"])
    assert found.ci95 == metric().ci95


def test_the_summary_gives_the_reason_for_a_blank_figure() -> None:
    blocks = {block: [replace(stopped(0.3), parts_ns=None) for _ in range(20)] for block in range(MIN_BLOCKS)}
    case = summarise_case(KEY, blocks, [])
    assert case.metrics["upstream_stop_ms"].p50 is None
    (reason,) = left_out([case])
    assert reason == (
        "redis-push in flowing: left out, since the clocks of the load workers leave more than 10% open:"
        " upstream_stop_ms p50/p95/mean (uncertain by 0.3)"
    )
    sure = summarise_case(KEY, {0: [stopped(0.01)] * 20}, [])
    assert sure.metrics["upstream_stop_ms"].p50 == 2.0
    assert not list(left_out([sure]))


def test_the_parts_that_begin_or_end_at_the_load_are_uncertain_too() -> None:
    parts = (150_000, 200_000, 100_000, 50_000, 50_000, 900_000)
    case = summarise_case(KEY, {0: [replace(stopped(0.02), parts_ns=parts)] * 20}, [])
    assert case.waterfall is not None
    blank = {name: part.blank for name, part in case.waterfall.items() if part and part.clock_uncertainty}
    assert blank == {"sent_to_received": ["p50", "mean"], "witness_to_client": []}


def test_a_clock_that_jumped_is_a_warning_and_one_that_did_not_is_none() -> None:
    clocks = [
        LoadClock(worker="worker 1 on b", offset_ns=1, uncertainty_ns=2),
        LoadClock(worker="worker 2 on b", offset_ns=1, uncertainty_ns=2, problem="the clock of worker 2 on b moved"),
    ]
    row = CaseRow(**KEY._asdict(), block=0, clocks=clocks)
    assert list(jumps([row])) == ["redis-push in flowing: the clock of worker 2 on b moved"]
