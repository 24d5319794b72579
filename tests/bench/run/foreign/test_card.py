"""The verdicts of the stop card, and the situations in which a way to stop exists."""

from __future__ import annotations

from typing import Any

import pytest

from bench.record.schema import AbortSide, ChatRow, ClientSide, StateSeen, WitnessSide
from bench.run.foreign.card import CARD, applies, verdict
from bench.targets.model import Stop

REQUEST = Stop.model_validate({"request": "POST /stop"})
HANGUP = Stop.model_validate({"kind": "hangup"})
NEVER = Stop.model_validate({"kind": "hangup", "expect": "never"})
COMPLETED = [StateSeen(at_ns=5, state="cancelled", honest=True), StateSeen(at_ns=6, state="completed", honest=False)]
CUT: dict[str, Any] = {"outcome": "cut", "lost_ns": 20}
RAN: dict[str, Any] = {"outcome": "finished", "done_ns": 90}


def row(witness: dict[str, Any] | None, **abort: Any) -> ChatRow:
    return ChatRow(
        strategy="my/cancel", scenario="check", workers=1, streams=1, block=0, index=0, request_id="a",
        client=ClientSide(token_ns=[]), abort=AbortSide(after_ms=500, **abort),
        witness=None if witness is None else WitnessSide(token_ns=[], **witness),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stop", "witness", "abort", "expected"),
    [
        (REQUEST, CUT, {"sent_ns": 10, "accepted_sent_ns": 10}, "stopped"),
        (REQUEST, CUT, {"sent_ns": 10, "states": COMPLETED}, "stopped, later completed"),
        (REQUEST, RAN, {"sent_ns": 10, "accepted_sent_ns": 10}, "dishonest"),
        (REQUEST, {"outcome": "open"}, {"sent_ns": 10, "accepted_sent_ns": 10}, "dishonest"),
        (REQUEST, RAN, {"sent_ns": 10}, "not stopped"),
        (REQUEST, RAN, {"sent_ns": 95, "accepted_sent_ns": 95}, "sent after the end"),
        (REQUEST, RAN, {"error": "no id"}, "no stop was sent: no id"),
        (HANGUP, RAN, {"sent_ns": 10, "accepted_sent_ns": 10}, "not stopped"),
        (HANGUP, RAN, {}, "no stop was sent: the answer had ended"),
        (NEVER, RAN, {"sent_ns": 10, "accepted_sent_ns": 10}, "documented"),
        (NEVER, CUT, {"sent_ns": 10, "accepted_sent_ns": 10}, "stopped"),
    ],
)
def test_the_mock_decides(stop: Stop, witness: dict[str, Any], abort: dict[str, Any], expected: str) -> None:
    assert verdict(stop, row(witness, **abort)) == expected


def test_a_way_is_tried_where_it_exists() -> None:
    def names(stop: Stop) -> list[str]:
        return [each.name for each in CARD if applies(stop, each)]

    assert len(names(REQUEST)) == len(CARD) == 8
    assert names(HANGUP) == [each.name for each in CARD[:5]]
    assert names(HANGUP.model_copy(update={"situations": ["stalled-long"]})) == ["natural end", "in a silence"]
