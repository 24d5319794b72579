"""How exact the instrument is: stamps of a made-up case are told apart, and a short real one is measured."""

import json
from pathlib import Path

import msgspec
import pytest

from bench.experiments.instrument import ABORT_SHARE, LIVE, errors_of, measure_errors, scenario_of
from bench.load.driver import processes_for
from bench.record.schema import ChatRow
from bench.run.rig import Kept
from bench.workload.plan import Case
from bench.workload.strategies import FLOOR

MS = 1_000_000


def row(index: int, *, stopped: bool) -> ChatRow:
    """Sent 1 ms late; its tokens seen 2 ms late, its Stop sent 3 ms late and witnessed after 4 ms."""
    due_ns = index * 100 * MS
    sent_ns = due_ns + 1 * MS
    written_ns = [sent_ns + 100 * MS, sent_ns + 120 * MS]
    abort_ns = due_ns + 1000 * MS
    end_ns = abort_ns + 3 * MS if stopped else sent_ns + 1580 * MS
    made = {
        "strategy": "floor", "scenario": "floor", "workers": 1, "streams": 150, "block": 0, "request_id": f"{index}",
        "client": {
            "intended_ns": due_ns, "sent_ns": sent_ns, "end_ns": end_ns, "error": None,
            "token_ns": [stamp + 2 * MS for stamp in written_ns],
        },
        "abort": {"after_ms": 1000.0, "intended_ns": abort_ns, "sent_ns": abort_ns + 3 * MS} if stopped else None,
        "witness": {
            "outcome": "cut" if stopped else "finished", "token_ns": written_ns,
            "lost_ns": abort_ns + 7 * MS if stopped else None,
        },
    }  # fmt: skip
    return msgspec.convert(made, ChatRow)


def test_each_error_is_the_difference_of_its_two_stamps() -> None:
    found = errors_of([row(index, stopped=index % 2 == 0) for index in range(100)], scenario_of(20))
    assert {name: found[name]["p50"] for name in ("witness_ms", "client_ms", "chat_lag_ms", "abort_lag_ms")} == {
        "witness_ms": 4.0, "client_ms": 2.0, "chat_lag_ms": 1.0, "abort_lag_ms": 3.0,
    }  # fmt: skip
    assert found["live"] == pytest.approx((1.58 + 1.0) / 2 / 0.1, rel=0.05)  # Little's law


def test_the_ramp_does_not_count() -> None:
    rows = [row(index, stopped=True) for index in range(100)]
    steady = errors_of(rows, scenario_of(20))
    for early in rows[:16]:  # sent before the first chat's length was over
        early.client.intended_ns = (early.client.intended_ns or 0) - 500 * MS
    assert errors_of(rows, scenario_of(20))["chat_lag_ms"] == steady["chat_lag_ms"]
    assert 60 <= steady["chat_lag_ms"]["n"] <= 84


def test_nothing_sent_is_no_error_of_zero() -> None:
    assert errors_of([], scenario_of(20))["client_ms"]["p50"] is None


@pytest.mark.parametrize("live", LIVE)
def test_the_table_has_enough_stops_for_its_p99(live: int) -> None:
    scenario = scenario_of(live)
    steady = 1 - scenario.chat_ms / (1000 * scenario.chats / (scenario.rate_per_s or 1))
    assert scenario.chats * ABORT_SHARE * steady > 400
    assert processes_for([Case(FLOOR, scenario, 1)]) <= 8


def test_the_instrument_is_measured_for_real_with_more_load_processes_from_case_to_case(tmp_path: Path) -> None:
    """Two processes, then one, then two again: one that sat out a case must hear of the next."""
    many = scenario_of(90, stops=20, least_s=0.5)
    few = scenario_of(20, stops=20, least_s=0.5)
    results = Kept(tmp_path, "instrument")
    again = type(many)(**many.settings() | {"name": "instrument-91"})
    lines = measure_errors(results, lambda _words: None, [many, few, again])
    assert [line["load_processes"] for line in lines] == [2, 1, 2]
    assert json.loads((results.folder / "instrument.json").read_text()) == lines
    assert json.loads((results.folder / "manifest.json").read_text())["complete"] is True
    line = lines[1]
    assert line["asked"] == 20
    assert 8 < line["live"] < 40
    assert line["client_ms"]["n"] > 50
    assert line["witness_ms"]["n"] >= 6
    assert 0 < line["witness_ms"]["p50"] < 100
    assert -1 < line["client_ms"]["p50"] < 100
    assert line["chat_lag_ms"]["p50"] > 0
