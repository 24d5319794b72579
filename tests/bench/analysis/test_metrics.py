"""One chat row in, its kind and metrics out: rows made by hand, answers computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.typed import measure

MS = 1_000_000


def row(strategy: str = "redis-push", **parts: dict[str, Any] | None) -> dict[str, Any]:
    """A chat sent at 0 ms: five tokens at 50, 70, 90, 110, 130 ms, no abort; `parts` change single values."""
    tokens = [moment * MS for moment in (50, 70, 90, 110, 130)]
    client = {"sent_ns": 0, "status": 200, "headers_ns": 2 * MS, "token_ns": [each + MS for each in tokens],
              "end_ns": 132 * MS, "finish_reason": "length", "error": None}  # fmt: skip
    witness = {"token_ns": tokens, "done_ns": 131 * MS, "lost_ns": None, "outcome": "finished"}
    made: dict[str, Any] = {"strategy": strategy, "scenario": "flowing", "workers": 2, "streams": 50, "block": 0,
                            "request_id": "1", "client": client, "abort": None, "witness": witness}  # fmt: skip
    for name, values in parts.items():
        made[name] = None if values is None else (made[name] or {}) | values
    return made


def abort(
    sent_ms: float | None, ack_ms: float | None = None, status: int | None = 200, error: str | None = None
) -> Any:
    sent_ns = None if sent_ms is None else round(sent_ms * MS)
    ack_ns = None if ack_ms is None else round(ack_ms * MS)
    return {
        "after_ms": 75.0,
        "sent_ns": sent_ns,
        "ack_ns": ack_ns,
        "status": status,
        "outcome": "accepted",
        "error": error,
    }


def stopped(**changes: Any) -> dict[str, Any]:
    """Aborted at 75 ms, cut at 93 ms: the token of 90 ms was wasted."""
    return row(
        **{
            "client": {"token_ns": [51 * MS, 71 * MS, 91 * MS], "end_ns": 94 * MS, "finish_reason": "abort"},
            "abort": abort(75, 77.5),
            "witness": {"token_ns": [50 * MS, 70 * MS, 90 * MS], "done_ns": None, "lost_ns": 93 * MS, "outcome": "cut"},
        }
        | changes
    )


def test_a_plain_chat_has_first_token_and_gaps_only() -> None:
    measured = measure(row())
    assert (measured.outcome, measured.error, measured.counted) == ("plain", None, False)
    assert measured.ttft_ms == 51
    assert measured.itl_ms == (20, 20, 20, 20)
    assert measured.upstream_stop_ms is measured.wasted_tokens is measured.abort_ack_ms is None


def test_a_stop_is_timed_from_the_abort_to_the_lost_connection() -> None:
    measured = measure(stopped())
    assert (measured.outcome, measured.counted) == ("stopped", True)
    assert measured.upstream_stop_ms == 18
    assert measured.client_stop_ms == 19
    assert measured.abort_ack_ms == 2.5
    assert measured.wasted_tokens == 1
    assert measured.itl_ms == (20,)  # only the tokens before the abort


def test_a_missed_abort_costs_tokens_but_has_no_latency() -> None:
    measured = measure(row(abort=abort(75, 77)))
    assert (measured.outcome, measured.counted, measured.wasted_tokens) == ("missed", True, 3)
    assert measured.upstream_stop_ms is measured.client_stop_ms is None
    assert measured.abort_ack_ms == 2


def test_a_token_at_the_very_moment_of_the_abort_is_not_wasted() -> None:
    assert measure(row(abort=abort(90))).wasted_tokens == 2


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"abort": abort(140, 141)}, id="after both ends"),
        pytest.param({"abort": abort(131.5), "client": {"end_ns": 140 * MS}}, id="after the witness's end"),
        pytest.param({"abort": abort(131.5), "witness": {"done_ns": 150 * MS}, "client": {"end_ns": 131 * MS}},
                     id="after the client's end"),
        pytest.param({"abort": abort(None, status=None)}, id="never sent"),
    ],
)  # fmt: skip
def test_an_abort_that_lost_the_race_is_late_and_counts_nowhere(parts: dict[str, Any]) -> None:
    measured = measure(row(**parts))
    assert (measured.outcome, measured.counted, measured.error) == ("late", False, None)
    assert measured.wasted_tokens is measured.abort_ack_ms is measured.upstream_stop_ms is None
    assert measured.ttft_ms == 51


def test_an_aborted_end_before_the_natural_one_is_no_race() -> None:
    """finish_reason `abort` is the service's stop: it must not turn a counted abort into a late one."""
    assert measure(row(abort=abort(75), client={"end_ns": 70 * MS, "finish_reason": "abort"})).outcome == "missed"


def test_a_disconnecting_client_needs_no_answer_and_has_no_client_stop() -> None:
    client: dict[str, Any] = {
        "status": None,
        "headers_ns": None,
        "token_ns": [],
        "end_ns": 75 * MS,
        "finish_reason": None,
    }
    measured = measure({**stopped(client=client, abort=abort(75, status=None)), "strategy": "disconnect"})
    assert (measured.outcome, measured.upstream_stop_ms) == ("stopped", 18)
    assert measured.client_stop_ms is measured.abort_ack_ms is measured.ttft_ms is None


@pytest.mark.parametrize(
    ("parts", "cause"),
    [
        ({"client": {"status": 503}}, "HTTP 503"),
        ({"client": {"status": None}}, "no answer"),
        ({"client": {"error": "reset by peer"}}, "reset by peer"),
        ({"witness": None}, "the upstream never saw it"),
        ({"witness": {"outcome": "open", "done_ns": None}}, "still open"),
        ({"witness": {"outcome": "cut", "done_ns": None, "lost_ns": 60 * MS}}, "cut without an abort"),
        ({"abort": abort(75), "witness": {"outcome": "cut", "done_ns": None, "lost_ns": 60 * MS}}, "cut without"),
    ],
)
def test_what_cannot_be_trusted_is_an_error_and_gives_no_metric(parts: dict[str, Any], cause: str) -> None:
    measured = measure(row(**parts))
    assert measured.outcome == "error"
    assert cause in (measured.error or "")
    assert measured.ttft_ms is None
    assert measured.itl_ms == ()


@pytest.mark.parametrize(
    ("failed", "cause"),
    [(abort(75, 80, status=500), "abort: HTTP 500"), (abort(75, None, None, "refused"), "abort: refused")],
)
def test_a_failed_abort_is_an_error_and_still_a_missed_abort(failed: Any, cause: str) -> None:
    measured = measure(row(abort=failed))
    assert (measured.outcome, measured.error, measured.wasted_tokens) == ("missed", cause, 3)
    assert measured.abort_ack_ms is None  # how fast an error came says nothing about the acknowledgement


def test_an_unknown_id_is_an_answer() -> None:
    assert measure(row(abort=abort(75, 77, status=404))).abort_ack_ms == 2
