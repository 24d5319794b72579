"""The parts of a stop add up exactly, whatever order the stamps of three processes came in."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.metrics import measure
from bench.analysis.summary import summarise
from bench.analysis.waterfall import PARTS, describe_parts, split_ns
from tests.bench import fake_results as fake
from tests.bench.analysis.test_metrics import MS, stopped

STAMPS = {
    "abort_received_ns": 76 * MS,
    "abort_recorded_ns": 78 * MS,
    "signal_ns": 81 * MS,
    "upstream_closed_ns": 85 * MS,
}


def stop(**service: int | None) -> dict[str, Any]:
    """Aborted at 75 ms, cut at 93 ms, the client's end at 94 ms."""
    return stopped() | {"service": STAMPS | service}


def test_a_stop_in_order_is_split_at_its_stamps() -> None:
    assert split_ns(stop()) == (1 * MS, 2 * MS, 3 * MS, 4 * MS, 8 * MS, 1 * MS)


def test_a_signal_before_the_store_s_answer_takes_the_overlap() -> None:
    assert split_ns(stop(abort_recorded_ns=84 * MS))[:4] == (1 * MS, 5 * MS, 0, 4 * MS)


def test_a_witness_before_the_close_returned_takes_the_overlap() -> None:
    assert split_ns(stop(upstream_closed_ns=95 * MS))[3:] == (12 * MS, 0, 1 * MS)


def test_a_client_that_saw_the_end_first_gives_a_negative_rest() -> None:
    early = stop()
    early["client"]["end_ns"] = 92 * MS
    assert split_ns(early)[5] == -1 * MS


def test_any_order_of_stamps_adds_up_exactly_and_no_part_of_the_stop_is_negative() -> None:
    rng = random.Random(5)
    for _ in range(500):
        made = stop(**{name: rng.randrange(60 * MS, 120 * MS) for name in STAMPS})
        made["client"]["end_ns"] = rng.randrange(80 * MS, 120 * MS)
        measured = measure(made)
        parts = [part for part in measured.parts_ns or () if part is not None]
        assert len(parts) == len(PARTS)
        assert min(parts[:5]) >= 0
        assert sum(parts[:5]) == 18 * MS == round((measured.upstream_stop_ms or 0) * MS)
        assert sum(parts) == made["client"]["end_ns"] - 75 * MS == round((measured.client_stop_ms or 0) * MS)


def test_a_part_without_both_stamps_is_null() -> None:
    assert split_ns(stop(signal_ns=None)) == (1 * MS, 2 * MS, None, None, 8 * MS, 1 * MS)
    left = stop(abort_received_ns=None, abort_recorded_ns=None, signal_ns=None) | {"strategy": "disconnect"}
    assert split_ns(left) == (None, None, None, None, 8 * MS, None)
    assert split_ns(stopped()) == (None, None, None, None, None, 1 * MS)


def test_means_of_a_case_are_of_the_same_stops_and_add_up() -> None:
    whole, gap = (1 * MS, 2 * MS, 3 * MS, 4 * MS, 8 * MS, 1 * MS), (99 * MS, 2 * MS, None, None, 8 * MS, 1 * MS)
    described = describe_parts([gap, whole, tuple(3 * part for part in whole)])
    assert described is not None
    assert [(described[part] or {})["mean"] for part in PARTS] == [2, 4, 6, 8, 16, 2]
    assert all((described[part] or {})["n"] == 2 for part in PARTS)
    assert (described[PARTS[0]] or {})["p50"] is None  # too few


def test_a_part_nobody_has_is_null_and_no_stamps_are_no_waterfall() -> None:
    described = describe_parts([(None, None, None, None, 8 * MS, None)] * 7)
    assert described is not None
    assert described["sent_to_received"] is described["witness_to_client"] is None
    assert described["closed_to_witness"] == {"n": 7, "p50": 8, "p95": None, "mean": 8}
    assert describe_parts([]) is None
    assert describe_parts([(None,) * 6]) is None


def test_the_summary_s_waterfall_adds_up_to_its_stop(tmp_path: Path) -> None:
    summary = summarise(fake.write(tmp_path, strategies=["redis-push", "disconnect", "none"], scenarios=["flowing"]))
    by_name = {case["strategy"]: case for case in summary["cases"]}
    push = by_name["redis-push"]
    means = [push["waterfall"][part]["mean"] for part in PARTS]
    assert sum(means[:5]) == pytest.approx(push["metrics"]["upstream_stop_ms"]["mean"], abs=0.001)
    assert sum(means) == pytest.approx(push["metrics"]["client_stop_ms"]["mean"], abs=0.001)
    assert by_name["disconnect"]["waterfall"]["signal_to_closed"] is None
    assert by_name["none"]["waterfall"] is None
