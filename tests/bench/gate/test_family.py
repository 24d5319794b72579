"""Many questions at once: blocks paired by their number, Holm over all, and when another block is worth it."""

from __future__ import annotations

import pytest

from bench.analysis.reading import CaseKey
from bench.gate.family import decide_all, more_needed
from bench.gate.verdict import Decision, Margin, Verdict
from tests.bench.fake_gate import PUSH, TIMER

MARGINS = {"upstream_stop_ms": Margin(0.15, slack=0.75), "ttft_ms": Margin(0.05, slack=1.0)}
STOP, TTFT = "upstream_stop_ms", "ttft_ms"


def line(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_blocks_are_paired_by_number_not_by_place() -> None:
    """Block 0 of base was lost; without pairing the swing would look like a change."""
    swing = [9.0, 2.0, 4.0, 1.0, 8.0, 3.0]
    base, head = line(*swing), line(*swing)
    del base[0]
    (found,) = decide_all({(PUSH, STOP): base}, {(PUSH, STOP): head}, MARGINS)
    assert (found.decision.blocks, found.decision.verdict, found.decision.effect) == (5, "equivalent", 0)


def test_a_metric_that_vanished_does_not_pass_unseen() -> None:
    values = {(PUSH, STOP): line(*[2.0] * 6)}
    for base, head in ((values, {}), ({}, values)):
        (found,) = decide_all(base, head, MARGINS)
        assert (found.decision.verdict, found.decision.blocks) == ("inconclusive", 0)


def test_only_metrics_with_a_margin_and_no_instrument_are_judged_in_report_order() -> None:
    floor = CaseKey("floor", "floor", 2, 50)
    drop = CaseKey("calibration-drop", "calibration", 2, 50)
    values = {(case, metric): line(*[2.0] * 5) for case in (TIMER, floor, drop, PUSH) for metric in (TTFT, STOP, "itl")}
    found = decide_all(values, values, MARGINS)
    assert [(each.case, each.metric) for each in found] == [(PUSH, STOP), (PUSH, TTFT), (TIMER, STOP), (TIMER, TTFT)]
    assert [each[:2] for each in decide_all(values, values, MARGINS, side_by_side=False)] == [
        each[:2] for each in found
    ]


def test_the_more_is_asked_the_more_it_takes() -> None:
    """A change that is significant alone is not among a hundred others."""
    base, head = line(*[2.0] * 6), line(2.6, 3.9, 3.3, 4.4, 3.0, 4.2)
    alone = decide_all({(PUSH, STOP): base}, {(PUSH, STOP): head}, MARGINS)[0].decision
    others = [CaseKey(f"other-{number}", "flowing", 2, 50) for number in range(100)]
    quiet = {(case, STOP): line(2.0, 2.1, 1.9, 2.0, 2.05, 1.95) for case in others}
    among = decide_all({(PUSH, STOP): base} | quiet, {(PUSH, STOP): head} | quiet, MARGINS)[0].decision
    assert (alone.verdict, among.verdict) == ("worse", "inconclusive")
    assert among.p_worse == pytest.approx(101 * alone.p_worse)


def test_unpaired_sides_may_have_other_numbers_of_blocks() -> None:
    base, head = {(PUSH, STOP): line(*[2.0, 2.1] * 3)}, {(PUSH, STOP): line(*[7.0, 7.1, 6.9] * 3)}
    assert decide_all(base, head, MARGINS, side_by_side=False)[0].decision.verdict == "worse"


@pytest.mark.parametrize(
    ("verdicts", "needed"),
    [
        (("equivalent", "inconclusive"), True),
        (("better", "inconclusive"), True),
        (("worse", "inconclusive"), False),
        (("better", "equivalent"), False),
        ((), False),
    ],
)
def test_blocks_are_added_while_they_could_change_the_outcome(verdicts: tuple[Verdict, ...], needed: bool) -> None:
    decisions = [Decision(verdict, 5, MARGINS[STOP]) for verdict in verdicts]
    assert more_needed(decisions) is needed
