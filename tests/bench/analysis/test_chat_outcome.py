"""Outcomes of early, repeated, refused and misdirected aborts, and what must never happen to a chat."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.analysis.test_metrics import MS, abort, row, stopped
from tests.bench.typed import measure

CUT_AT_60 = {"outcome": "cut", "done_ns": None, "lost_ns": 60 * MS}
ENDED_AT_ONCE = {"token_ns": [], "end_ns": 80 * MS, "finish_reason": "abort"}


def pressed(
    sent_ms: float, ack_ms: float, *, tries: int = 1, accepted_ms: float | None = None, status: int = 200
) -> dict[str, Any]:
    """An abort of the record with presses; the one that was accepted left at `accepted_ms`."""
    accepted_ns = None if accepted_ms is None else round(accepted_ms * MS)
    return {**abort(sent_ms, ack_ms, status), "tries": tries, "accepted_sent_ns": accepted_ns}


@pytest.mark.parametrize(
    ("pressed_row", "service"),
    [
        pytest.param(pressed(1, 3, accepted_ms=1), None, id="accepted"),
        pytest.param(pressed(1, 3, status=404), {"abort_outcome": "remembered"}, id="remembered, by the trace"),
        pytest.param(abort(1, 3), None, id="accepted, old record"),
    ],
)
def test_a_stop_before_the_upstream_was_asked_is_a_stop_without_latency_or_waste(
    pressed_row: dict[str, Any], service: dict[str, Any] | None
) -> None:
    measured = measure(row(witness=None, client=ENDED_AT_ONCE, abort=pressed_row) | {"service": service})
    assert (measured.outcome, measured.prevented, measured.error, measured.counted) == ("stopped", True, None, True)
    assert (measured.upstream_stop_ms, measured.wasted_tokens, measured.parts_ns) == (None, 0, None)
    assert measured.client_stop_ms == 79
    assert not measured.wrong_stop


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"client": ENDED_AT_ONCE, "abort": pressed(1, 3, status=404)}, id="never accepted"),
        pytest.param({"client": ENDED_AT_ONCE | {"finish_reason": None}, "abort": abort(1, 3)}, id="not told"),
        pytest.param({"client": ENDED_AT_ONCE, "abort": abort(81, 82)}, id="ended before the abort"),
        pytest.param({"client": ENDED_AT_ONCE}, id="nobody aborted"),
        pytest.param({"client": ENDED_AT_ONCE | {"token_ns": [51 * MS]}, "abort": abort(60, 62)}, id="it gave tokens"),
    ],
)
def test_a_chat_that_the_upstream_never_saw_is_no_stop_unless_an_abort_explains_it(parts: dict[str, Any]) -> None:
    measured = measure(row(witness=None, **parts))
    assert (measured.outcome, measured.error, measured.prevented) == ("error", "the upstream never saw it", False)


def test_hanging_up_before_the_upstream_was_asked_prevents_it_too() -> None:
    client: dict[str, Any] = {"status": None, "token_ns": [], "end_ns": 1 * MS, "finish_reason": None}
    measured = measure(row("disconnect", witness=None, client=client, abort=abort(1, status=None)))
    assert (measured.outcome, measured.prevented, measured.client_stop_ms) == ("stopped", True, None)


@pytest.mark.parametrize(
    ("status", "outcome"), [pytest.param(499, "stopped", id="aborted"), pytest.param(502, "error", id="failed")]
)
def test_an_answer_in_one_piece_is_stopped_when_its_status_is_499(status: int, outcome: str) -> None:
    client = {"status": status, "error": "error event: aborted", "token_ns": [], "finish_reason": None}
    measured = measure(row(client=client, witness=CUT_AT_60 | {"token_ns": []}, abort=abort(50, 52)))
    assert (measured.outcome, measured.upstream_stop_ms) == (outcome, 10 if outcome == "stopped" else None)
    assert not measured.wrong_stop


@pytest.mark.parametrize(
    ("pressed_row", "kind"),
    [
        pytest.param(pressed(75, 80, status=503), "refused", id="503 at once and no more"),
        pytest.param(pressed(75, 140, tries=3, status=404), "refused", id="503s until the end, then unknown"),
        pytest.param(pressed(75, 140, tries=3, accepted_ms=135), "refused", id="accepted after the end"),
        pytest.param(pressed(140, 145, status=503), "refused", id="503 after the end"),
        pytest.param(pressed(75, 130, tries=2, accepted_ms=120), "late", id="accepted within the margin"),
        pytest.param(pressed(75, 95, tries=2, accepted_ms=90), "missed", id="accepted in time, on the second press"),
        pytest.param(pressed(75, 77, accepted_ms=75), "missed", id="accepted at once"),
        pytest.param(pressed(75, 77, status=404), "missed", id="unknown on another worker"),
        pytest.param(pressed(75, 140, status=404, accepted_ms=75), "missed", id="404 after the end, however late"),
        pytest.param(pressed(140, 141, status=404), "late", id="404 after the end"),
        pytest.param(pressed(140, 141, accepted_ms=140), "late", id="200 after the end"),
    ],
)
def test_an_abort_that_did_not_stop_is_refused_late_or_missed(pressed_row: dict[str, Any], kind: str) -> None:
    measured = measure(row(abort=pressed_row), {"abort_margin_ms": 20.0})
    assert (measured.outcome, measured.error) == (kind, None)
    assert measured.upstream_stop_ms is None
    assert (measured.wasted_tokens is None) == (kind != "missed")


@pytest.mark.parametrize(("ack_ms", "kind"), [(140, "refused"), (125, "late"), (77, "missed")])
def test_a_press_that_a_dead_store_answered_too_late_was_promised_nothing(ack_ms: float, kind: str) -> None:
    """It heard 404, for the store had come back empty; while the stream lives that is no excuse."""
    settings = {"abort_margin_ms": 20.0, "fault": "store-crash"}
    assert measure(row(abort=pressed(75, ack_ms, status=404, accepted_ms=75)), settings).outcome == kind


def test_a_503_that_stopped_nevertheless_is_a_stop() -> None:
    measured = measure(stopped(abort=pressed(75, 80, status=503)))
    assert (measured.outcome, measured.upstream_stop_ms, measured.abort_ack_ms) == ("stopped", 18, None)


def test_a_repeated_abort_counts_from_its_first_press_and_its_answer_from_the_accepted_one() -> None:
    measured = measure(stopped(abort=pressed(75, 92.5, tries=3, accepted_ms=91)))
    assert (measured.outcome, measured.upstream_stop_ms, measured.abort_ack_ms) == ("stopped", 18, 1.5)


def test_a_chat_the_service_rejected_is_neither_an_error_nor_a_stop() -> None:
    measured = measure(row(client={"status": 503}, witness=None) | {"service": {"finish_reason": "refused_503"}})
    assert (measured.outcome, measured.error, measured.counted) == ("rejected", None, False)


@pytest.mark.parametrize(
    ("service", "settings", "kind"),
    [
        ({"pid": 7, "abort_pid": 7}, {"count_only": "other-worker"}, "same_worker"),
        ({"pid": 7, "abort_pid": 8}, {"count_only": "other-worker"}, "stopped"),
        ({"pid": 7, "abort_pid": 7}, {}, "stopped"),
        ({"pid": None, "abort_pid": None}, {"count_only": "other-worker"}, "stopped"),
        (None, {"count_only": "other-worker"}, "stopped"),
    ],
)
def test_where_only_other_workers_count_an_abort_on_the_own_one_does_not(
    service: dict[str, Any] | None, settings: dict[str, Any], kind: str
) -> None:
    measured = measure(stopped() | {"service": service}, settings)
    assert (measured.outcome, measured.counted) == (kind, kind == "stopped")
    assert (measured.upstream_stop_ms is None) == (kind == "same_worker")
    assert (measured.ttft_ms, measured.itl_ms) == (51, (20,))


def test_an_own_worker_abort_that_was_too_late_stays_late() -> None:
    late = row(abort=abort(140, 141)) | {"service": {"pid": 7, "abort_pid": 7}}
    assert measure(late, {"count_only": "other-worker"}).outcome == "late"


def test_intended_times_are_told_beside_the_service_times_where_they_are_known() -> None:
    both = stopped(abort=abort(75, 77.5) | {"intended_ns": 70 * MS})
    both["client"]["intended_ns"] = -10 * MS
    measured = measure(both)
    assert (measured.upstream_stop_ms, measured.upstream_stop_intended_ms) == (18, 23)
    assert (measured.ttft_ms, measured.ttft_intended_ms) == (51, 61)
    closed = measure(stopped(client={"intended_ns": None, "token_ns": [51 * MS]}, abort=abort(75, 77.5)))
    assert closed.upstream_stop_intended_ms is closed.ttft_intended_ms is None


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
