"""The first screen: a sentence that is true for every kind of run, and a small table whose best rows are marked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.record.manifest import Manifest
from bench.record.summary import SummaryCase
from bench.report.advice import advise
from bench.report.first_screen import MOST_ROWS, FirstScreen, first_screen
from bench.report.tables import glance_table
from tests.bench.report.advice_cases import case, summary


def wasting(strategy: str, tokens: float, **what: Any) -> SummaryCase:
    """A case with this mean of wasted tokens."""
    made = case(strategy, **what)
    waste = {"n": 300, "p50": 0.0, "p95": None, "p99": None, "mean": tokens, "ci95": {"p50": None}}
    return msgspec.convert({**msgspec.to_builtins(made), "metrics": {**msgspec.to_builtins(made.metrics),
                            "wasted_tokens": waste}}, SummaryCase)  # fmt: skip


NONE = wasting("none", 36.1, p50=None, missed=300)
PUSH = wasting("redis-push", 0.04, p50=1.1)
SLOW = wasting("redis-timer", 2.7, p50=52.0)


def shown(*cases: SummaryCase, valid: bool = True, **manifest: Any) -> FirstScreen:
    found, head = summary(*cases, valid=valid), msgspec.convert({"label": "a run", **manifest}, Manifest)
    return first_screen(found, head, advise(found, head))


def test_the_sentence_has_money_a_stop_and_the_price() -> None:
    found = shown(NONE, PUSH, SLOW)
    assert found.sentence == (
        "With 2 workers, a million stopped answers cost $361 in unread tokens without a working Stop, and $0.40 with "
        "redis-push, where a Stop takes 1.10 ms (at $10 per million tokens)."
    )
    assert "OpenAI's list price of gpt-4o" in found.basis
    assert found.title == "redis-push 1.10 ms: a run"


def test_the_answer_flips_with_the_data() -> None:
    found = shown(NONE, PUSH, wasting("redis-timer", 0, p50=0.5))
    assert "$0.00 with redis-timer, where a Stop takes 0.500 ms" in found.sentence


def test_strategies_that_do_not_differ_are_all_named_and_all_marked() -> None:
    found = shown(NONE, PUSH, wasting("postgres-push", 0.06, p50=1.12), SLOW)
    assert found.basis.startswith("No significant difference: postgres-push (1.12 ms, $0.60).")
    assert found.table
    names = [row[0] for row in found.table.rows]
    assert {names[row] for row, column in found.table.best if column == 0} == {"redis-push", "postgres-push"}


@pytest.mark.parametrize(
    ("cases", "facts", "text", "answered"),
    [
        pytest.param([PUSH, SLOW], {}, "a Stop takes 1.10 ms with redis-push, and a million", True,
                     id="without none"),
        pytest.param([NONE, case("redis-push", p50=1.1)], {}, "and 0 of 300 were missed.", True, id="without tokens"),
        pytest.param([NONE, wasting("memory-push", 19.0, missed=150)], {}, "150 of 300 aborts were missed.", False,
                     id="every strategy missed aborts"),
        pytest.param([NONE], {}, "no strategy that delivers aborts was measured.", False, id="none alone"),
        pytest.param([case("none", "steady"), case("redis-push", "steady")], {}, "No abort was counted", False,
                     id="no aborts"),
        pytest.param([], {}, "No abort was counted", False, id="nothing at all"),
        pytest.param([NONE, PUSH], {"valid": False}, "not valid: quote no figure", False, id="invalid"),
        pytest.param([NONE, PUSH], {"quick": True}, "First look (a QUICK run supports no claim): with 2 workers", False,
                     id="quick"),
    ],
)  # fmt: skip
def test_the_sentence_stays_true(cases: list[SummaryCase], facts: dict[str, Any], text: str, answered: bool) -> None:
    found = shown(*cases, **facts)
    assert text in found.sentence
    assert bool(found.table and found.table.best) == answered  # what is recommended is in bold, and nothing else
    assert found.title == ("redis-push 1.10 ms: a run" if answered else "Stopping a stream: a run")


def test_the_table_is_small_and_keeps_the_answer_the_control_and_each_way() -> None:
    stores = [wasting(f"{store}-{way}", 1.0, p50=ms) for store in ("postgres", "redis", "nats")
              for way, ms in (("push", 1.1), ("timer", 52.0), ("poll", 12.0))]  # fmt: skip
    found = shown(NONE, *stores, wasting("memory-push", 19.0, p50=0.9, missed=150), wasting("disconnect", 0.1, p50=1.0))
    assert found.table
    assert len(found.table.rows) == MOST_ROWS
    names = {row[0] for row in found.table.rows}
    assert {"none", "memory-push", "redis-push", "postgres-push"} <= names


def test_a_scenario_whose_store_was_killed_or_whose_clients_hang_up_is_not_quoted() -> None:
    cases = [wasting("redis-push", 0.04, p50=1.1, scenario="outage"), wasting("redis-push", 0.08, p50=2.2)]
    found, head = summary(*cases), Manifest()
    faulted = {("redis-push", "flowing")}
    assert "1.10 ms" in first_screen(found, head, advise(found, head), faulted).sentence
    left = msgspec.convert({"scenarios": {"flowing": {"abort_by": "hangup"}}}, Manifest)
    assert "1.10 ms" in first_screen(found, left, advise(found, left)).sentence


def test_all_strategies_at_a_glance_have_their_best_values_in_bold_and_the_references_apart() -> None:
    quick_but_lossy = wasting("memory-push", 0.01, p50=0.5, missed=150)
    table = glance_table([NONE, wasting("disconnect", 0.0, p50=0.6), quick_but_lossy, PUSH, SLOW], Manifest())
    assert table
    names = [row[0] for row in table.rows]
    bold = {(names[row], table.heads[column].partition(":")[0]) for row, column in table.best}
    assert bold == {("redis-push", "flowing"), ("redis-push", "tokens wasted per abort")}
    assert {names[row] for row in table.aside} == {"none", "disconnect"}
