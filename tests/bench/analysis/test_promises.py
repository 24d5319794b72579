"""Zero-tolerance facts: each fires on the row that breaks it, and on no row that keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.analysis.metrics import measure
from tests.bench.analysis.test_metrics import MS, abort, row, stopped

CUT_AT_60 = {"outcome": "cut", "done_ns": None, "lost_ns": 60 * MS}


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"witness": CUT_AT_60}, id="cut, nobody aborted"),
        pytest.param({"client": {"finish_reason": "abort"}}, id="told abort, nobody aborted"),
        pytest.param({"witness": CUT_AT_60, "abort": abort(75)}, id="cut before the abort was sent"),
        pytest.param({"witness": CUT_AT_60, "abort": abort(None)}, id="cut, the abort was never sent"),
        pytest.param({"client": {"finish_reason": "abort", "end_ns": 60 * MS}, "abort": abort(75)}, id="told before"),
        pytest.param({"client": {"finish_reason": "abort"}, "witness": None}, id="the upstream was never asked"),
    ],
)
def test_a_stop_nobody_asked_for_is_a_wrong_stop(parts: dict[str, Any]) -> None:
    assert measure(row(**parts)).wrong_stop


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(row(), id="plain"),
        pytest.param(stopped(), id="stopped"),
        pytest.param(row(abort=abort(75)), id="missed"),
        pytest.param(stopped(abort=abort(75, status=None), client={"status": 200}) | {"strategy": "disconnect"},
                     id="the client left"),
        pytest.param(row(client={"error": "reset by peer"}, witness=CUT_AT_60), id="the client was lost"),
        pytest.param(row(client={"status": 504}, witness=CUT_AT_60), id="the service gave the upstream up"),
    ],
)  # fmt: skip
def test_a_stop_that_was_asked_for_and_a_failure_are_no_wrong_stops(made: dict[str, Any]) -> None:
    assert not measure(made).wrong_stop


def test_tokens_after_the_end_chunk_are_counted() -> None:
    late = stopped()
    late["client"]["tokens_after_finish"] = 2
    assert measure(late).tokens_after_stop == 2
    assert measure(stopped()).tokens_after_stop == 0
    natural = row()  # content after a natural end is odd, but nobody had stopped anything
    natural["client"]["tokens_after_finish"] = 2
    assert measure(natural).tokens_after_stop == 0


@pytest.mark.parametrize(
    ("outcome", "ack_ms", "late"),
    [("stopped", 78, 1), ("stopped", 82, 0), ("accepted", 78, 0), ("stopped", None, 0)],
)
def test_tokens_after_a_confirmed_stop_are_counted(outcome: str, ack_ms: float | None, late: int) -> None:
    """The last token comes at 91 ms: a stop confirmed at 82 ms may have been read before it, one of 78 ms not."""
    confirmed = stopped(abort=abort(75, ack_ms) | {"outcome": outcome})
    assert measure(confirmed).tokens_after_stop == late


def test_an_upstream_that_stays_open_is_leaked() -> None:
    assert measure(row(witness={"outcome": "open", "done_ns": None})).leaked
    assert not measure(row()).leaked
    assert not measure(row(witness=None)).leaked
