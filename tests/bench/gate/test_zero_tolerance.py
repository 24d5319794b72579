"""Rules without statistics: one is too many, except where a strategy never promised."""

from __future__ import annotations

import pytest

from bench.gate.zero_tolerance import RULES, fired, promises_delivery
from tests.bench.fake_gate import summary_case


def rules(*cases: dict[str, object], base: tuple[dict[str, object], ...] = ()) -> list[str]:
    return [each.rule for each in fired(base, cases)]


@pytest.mark.parametrize("rule", RULES)
def test_one_is_too_many(rule: str) -> None:
    (broken,) = fired([summary_case()], [summary_case() | {rule: 1}])
    assert (broken.rule, broken.head, broken.base) == (rule, 1, 0)
    assert broken.sentence.startswith("redis-push in flowing, 2 workers: 1 ")
    assert broken.sentence.endswith("(base: 0)")


def test_a_clean_head_breaks_none_and_base_excuses_nobody() -> None:
    dirty = summary_case(missed=3)
    assert rules(summary_case(), base=(dirty,)) == []
    (broken,) = fired([dirty], [summary_case(missed=1)])
    assert (broken.head, broken.base) == (1, 3)


@pytest.mark.parametrize(
    ("strategy", "workers", "promised"),
    [
        ("redis-push", 4, True), ("redis-timer", 2, True), ("redis-poll", 2, True),
        ("postgres-push", 2, True), ("postgres-timer", 1, True), ("postgres-poll", 2, True),
        ("memory-push", 1, True), ("memory-poll", 1, True), ("disconnect", 2, True),
        ("memory-push", 2, False), ("memory-poll", 4, False), ("none", 1, False), ("none", 2, False),
    ],
)  # fmt: skip
def test_who_promises_that_every_abort_arrives(strategy: str, workers: int, promised: bool) -> None:
    assert promises_delivery(strategy, workers) is promised
    assert rules(summary_case(strategy, workers, missed=500)) == (["missed"] if promised else [])


def test_missing_by_design_excuses_neither_leaks_nor_wrong_stops() -> None:
    case = summary_case("memory-push", 2, missed=500, wrong_stops=1, leaked=2)
    assert rules(case) == ["wrong_stops", "leaked"]


def test_errors_beyond_one_in_a_hundred() -> None:
    assert rules(summary_case(errors=10)) == []
    (broken,) = fired([], [summary_case(errors=11)])
    assert (broken.rule, broken.base) == ("errors", None)
    assert "11 of 1000 chats that failed, allowed is 1%" in broken.sentence


def test_a_summary_of_before_these_counts_is_read() -> None:
    old = {key: value for key, value in summary_case().items() if key not in ("wrong_stops", "leaked")}
    assert rules(old) == []
    (broken,) = fired([old], [summary_case(leaked=1)])
    assert broken.base is None
