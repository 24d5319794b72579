"""Rules without statistics: one is too many, except where a strategy never promised."""

from __future__ import annotations

import pytest

from bench.analysis.reading import CaseKey
from bench.gate.rules import RULES, broken_rules, promises_delivery
from tests.bench.fake_gate import counts


def rules(head: dict[CaseKey, dict[str, int]], base: dict[CaseKey, dict[str, int]] | None = None) -> list[str]:
    return [each.rule for each in broken_rules(base or {}, head)]


@pytest.mark.parametrize("rule", RULES)
def test_one_is_too_many(rule: str) -> None:
    (case,) = counts()
    (broken,) = broken_rules(counts(), {case: counts()[case] | {rule: 1}})
    assert (broken.rule, broken.head, broken.base) == (rule, 1, 0)
    assert broken.sentence.startswith("redis-push in flowing, 2 workers: 1 ")
    assert broken.sentence.endswith("(base: 0)")


def test_a_clean_head_breaks_none_and_base_is_no_excuse() -> None:
    dirty = counts(missed=3)
    assert rules(counts(), base=dirty) == []
    (broken,) = broken_rules(dirty, counts(missed=1))
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
def test_which_strategies_promise_that_every_abort_arrives(strategy: str, workers: int, promised: bool) -> None:
    assert promises_delivery(strategy, workers) is promised
    assert rules(counts(strategy, workers, missed=500)) == (["missed"] if promised else [])


def test_missing_by_design_excuses_neither_leaks_nor_wrong_stops() -> None:
    assert rules(counts("memory-push", 2, missed=500, wrong_stops=1, leaked=2)) == ["wrong_stops", "leaked"]


def test_errors_beyond_one_in_a_hundred() -> None:
    assert rules(counts(errors=10)) == []
    (broken,) = broken_rules({}, counts(errors=11))
    assert (broken.rule, broken.base) == ("errors", None)
    assert "11 of 1000 chats failed (limit 1%)" in broken.sentence
