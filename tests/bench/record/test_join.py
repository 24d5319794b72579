"""The join of the three timelines, and what the reading half makes of the joined rows."""

from typing import Any

import msgspec
import pytest

from bench.analysis.metrics import measure
from bench.record.join import case_head, join, load_phases, load_window, pacing_ms
from bench.record.schema import ChatRow, LoadRow
from bench.record.traces import JournalRow, Trace
from bench.workload.plan import select

MS = 1_000_000
CASE = select(strategies=["redis-push"], scenarios=["flowing"])[0]


def client(index: int, *, abort_ms: float | None = 500.0, end_ms: float = 502.0, reason: str | None = "abort") -> Any:
    sent = 1_000 * MS
    abort = None
    if abort_ms is not None:
        abort = {
            "after_ms": abort_ms,
            "sent_ns": sent + int(abort_ms * MS),
            "ack_ns": sent + int((abort_ms + 1) * MS),
            "status": 200,
            "outcome": "accepted",
            "error": None,
        }
    seen = {
        "sent_ns": sent, "status": 200, "headers_ns": sent + 2 * MS, "token_ns": [sent + 100 * MS, sent + 120 * MS],
        "end_ns": sent + int(end_ms * MS), "finish_reason": reason, "error": None,
    }  # fmt: skip
    return {"index": index, "request_id": f"id-{index}", "client": seen, "abort": abort}


def journal(index: int, *, lost_ms: float | None = 501.0, done_ms: float | None = None) -> dict[str, Any]:
    sent = 1_000 * MS
    tokens = [sent + at * MS for at in range(100, int(lost_ms or done_ms or 0), 20)]
    return {
        "id": f"id-{index}",
        "model": "mock",
        "received_ns": sent + MS,
        "token_ns": tokens,
        "planned_tokens": 75,
        "done_ns": None if done_ms is None else sent + int(done_ms * MS),
        "lost_ns": None if lost_ms is None else sent + int(lost_ms * MS),
        "outcome": "cut" if done_ms is None else "finished",
        "late_p99_ms": 1.0 + index,
    }


def trace(index: int, kind: str = "chat", pid: int = 11) -> dict[str, Any]:
    ends = {"received_ns": 5, "finish_reason": "abort", "chunks": 3} if kind == "chat" else {"received_ns": 7}
    return {"kind": kind, "request_id": f"id-{index}", "pid": pid, "outcome": "accepted", "recorded_ns": 8} | ends


def load_rows(rows: Any) -> list[LoadRow]:
    return msgspec.convert(rows, list[LoadRow])


def joined(clients: Any, traces: Any, witness: Any, strategy: str = "redis-push") -> list[ChatRow]:
    head = msgspec.structs.replace(case_head(CASE, 0), strategy=strategy)
    return join(
        head, load_rows(clients), msgspec.convert(traces, list[Trace]), msgspec.convert(witness, list[JournalRow])
    )


def test_three_sides_meet_on_the_id() -> None:
    traces = [trace(1, "abort", pid=12), trace(0), trace(1)]
    rows = joined([client(1), client(0)], traces, [journal(1), journal(0)])
    assert [row.index for row in rows] == [0, 1]
    row = rows[1]
    head = ("strategy", "store", "delivery", "scenario", "workers", "streams", "block")
    assert {key: getattr(row, key) for key in head} == {
        "strategy": "redis-push", "store": "redis", "delivery": "push", "scenario": "flowing", "workers": 2,
        "streams": CASE.scenario.streams, "block": 0,
    }  # fmt: skip
    assert row.service is not None
    assert (row.service.pid, row.service.abort_pid, row.service.chunks) == (11, 12, 3)
    assert row.service is not None
    assert (row.service.received_ns, row.service.abort_received_ns) == (5, 7)
    assert row.service is not None
    assert row.service.abort_outcome == "accepted"
    assert row.witness is not None
    assert row.witness.lost_ns == 1_501 * MS


def test_what_a_side_did_not_see_is_none() -> None:
    (row,) = joined([client(0)], [], [])
    assert row.service is None
    assert row.witness is None
    assert measure(row).outcome == "error"


def test_strangers_in_journal_and_traces_are_left_out() -> None:
    rows = joined([client(0)], [trace(0), trace(9)], [journal(0), journal(9)])
    assert [row.request_id for row in rows] == ["id-0"]


def test_an_abort_whose_chat_left_no_trace_is_kept() -> None:
    (row,) = joined([client(0)], [trace(0, "abort")], [journal(0)])
    assert row.service is not None
    assert row.service.pid is None
    assert row.service is not None
    assert row.service.abort_received_ns == 7


def test_a_retry_does_not_replace_the_chat() -> None:
    (row,) = joined([client(0)], [], [journal(0), journal(0, lost_ms=900.0)])
    assert row.witness is not None
    assert row.witness.lost_ns == 1_501 * MS


def test_stopped_missed_late_and_disconnected_are_told_apart() -> None:
    rows = joined(
        [
            client(0),
            client(1, end_ms=1_581, reason="stop"),
            client(2, abort_ms=1_590.0, end_ms=1_581, reason="stop"),
            client(3, abort_ms=None, end_ms=1_581, reason="stop"),
        ],
        [],
        [journal(0), *(journal(index, lost_ms=None, done_ms=1_580.0) for index in (1, 2, 3))],
    )
    assert [measure(row).outcome for row in rows] == ["stopped", "missed", "late", "plain"]
    assert measure(rows[0]).upstream_stop_ms == pytest.approx(1.0)
    left = client(0, reason=None)
    left["client"]["end_ns"] = left["abort"]["sent_ns"]
    left["abort"] |= {"ack_ns": None, "status": None, "outcome": None}
    (row,) = joined([left], [], [journal(0)], strategy="disconnect")
    assert measure(row).outcome == "stopped"
    assert measure(row).client_stop_ms is None


def test_the_load_lasts_from_the_first_sent_to_the_last_end() -> None:
    never = client(2)
    never["client"]["sent_ns"] = None
    rows = load_rows([client(0, end_ms=502), client(1, end_ms=900), never])
    assert load_window(rows) == (1_000 * MS, 1_900 * MS)
    assert load_window(rows[2:]) == (0, 0)


def test_a_load_has_a_phase_of_arriving_and_one_of_ending_if_they_are_long_enough() -> None:
    def chat(sent_ms: int | None, end_ms: int | None) -> LoadRow:
        moments: dict[str, Any] = {
            "sent_ns": sent_ms and sent_ms * MS,
            "end_ns": end_ms and end_ms * MS,
            "token_ns": [],
        }
        return load_rows([{"index": 0, "request_id": "a", "client": moments}])[0]

    rows = [chat(1_000, 1_100), chat(2_500, 2_600), chat(None, None), chat(2_000, 9_000)]
    assert load_phases(rows) == {"arriving": (1_000 * MS, 2_500 * MS), "ending": (2_500 * MS, 9_000 * MS)}
    assert load_phases([chat(1_000, 3_000), chat(1_499, 3_000)]) == {"ending": (1_499 * MS, 3_000 * MS)}
    assert load_phases([chat(1_000, 1_100), chat(1_500, 1_999)]) == {"arriving": (1_000 * MS, 1_500 * MS)}
    assert load_phases([chat(None, None)]) == load_phases([]) == {}


def test_pacing_is_that_of_the_typical_stream() -> None:
    rows = joined([client(index) for index in range(3)], [], [journal(index) for index in range(3)])
    assert pacing_ms(rows) == pytest.approx(2.0)
    assert pacing_ms(joined([client(0)], [], [])) is None
