"""The data of the charts that a reader can query: every counted abort once, its own figures, within its size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.ranking import place_of
from bench.analysis.reading import read_run
from bench.analysis.summary import write_summary
from bench.report.live import MOST_CHATS, Side, live_data, payload, series_of
from tests.bench import fake_blocks
from tests.bench import fake_results as fake

MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Side:
    """A run with an outage, missed aborts and a scenario without any."""
    run = read_run(fake_blocks.write(tmp_path_factory.mktemp("live") / "one", blocks=2, chats=12))
    return Side(run, write_summary(run))


@pytest.fixture(scope="module")
def found(side: Side) -> dict[str, Any]:
    return payload([side])


def stops_of(found: dict[str, Any]) -> dict[str, float | None]:
    """Request id -> stop in ms, as the browser reads it."""
    return {
        series["prefix"] + id_: None if lost is None else lost / 1000
        for series in found["chats"]
        for id_, lost in zip(series["id"], series.get("lost") or [None] * len(series["id"]), strict=True)
    }


def test_every_counted_abort_is_a_dot_with_its_own_stop(side: Side, found: dict[str, Any]) -> None:
    keys = {case.key for case in side.summary.cases if case.aborts}
    counted = {chat.request_id: chat.measured for chat in side.run.chats if chat.measured.counted and chat.key in keys}
    stops = stops_of(found)
    assert set(stops) == {id_ for id_ in counted if "calibration" not in id_ and "floor" not in id_}
    for id_, stop_ms in stops.items():
        measured = counted[id_].upstream_stop_ms
        assert (stop_ms is None) == (measured is None)
        assert measured is None or stop_ms == pytest.approx(measured, rel=1e-3, abs=1e-3)


def test_moments_follow_the_abort(found: dict[str, Any]) -> None:
    push = [each for each in found["chats"] if found["contenders"][each["who"]]["name"] == "redis-push"]
    assert push
    for series in push:
        for received, recorded in zip(series["received"], series["recorded"], strict=True):
            assert received is None or 0 <= received <= recorded
        assert len(series["at"]) == len(series["id"]) == series["of"]
        assert all(step >= 0 for step in series["at"])


def test_a_curve_ends_at_its_share_of_stopped_aborts(side: Side, found: dict[str, Any]) -> None:
    cases = {(case.strategy, str(place_of(case))): case for case in side.summary.cases if case.aborts}
    assert found["curves"]
    for curve in found["curves"]:
        case = cases[found["contenders"][curve["who"]]["name"], found["places"][curve["place"]]]
        assert (curve["aborts"], curve["missed"]) == (case.aborts, case.missed)
        if curve["x"]:
            assert curve["x"] == sorted(curve["x"])
            assert curve["low"][-1] <= curve["share"][-1] <= curve["high"][-1]
            assert curve["share"][-1] == pytest.approx(10_000 * (1 - case.missed / case.aborts), abs=1)
        else:
            assert case.missed == case.aborts


def test_the_outage_is_shaded(found: dict[str, Any]) -> None:
    killed = [each for each in found["bands"] if each["what"] == "store killed"]
    assert killed
    assert all(each["to"] > each["from"] >= 0 for each in killed)


def test_of_too_many_aborts_every_nth_of_each_case_is_drawn(side: Side, found: dict[str, Any]) -> None:
    whole = sum(series["of"] for series in found["chats"])
    where = {case.key: "" for case in side.summary.cases if case.aborts and case.scenario == "flowing"}
    some = [series for _key, series in series_of(side.run, where, whole // 20)]
    assert {len(each["id"]) for each in some} < set(range(1, 5))
    assert sum(each["of"] for each in some) > sum(len(each["id"]) for each in some) > 0


def test_two_runs_are_told_apart(side: Side) -> None:
    both = payload([side, side], ["A: x", "B: y"])
    assert both["runs"] == ["A: x", "B: y"]
    for part in ("curves", "chats", "bands"):
        assert [each["run"] for each in both[part]].count(0) == [each["run"] for each in both[part]].count(1) > 0


def test_a_hostile_name_does_not_end_the_script(tmp_path: Path) -> None:
    name = "</script><script>alert(1)"
    run = read_run(fake.write(tmp_path, strategies=[name], scenarios=["flowing"], chats=8))
    data = live_data([Side(run, write_summary(run))])
    assert data is not None
    assert "<" not in data
    assert json.loads(data)["contenders"][0]["name"] == name


def test_a_run_without_aborts_has_no_data(tmp_path: Path) -> None:
    run = read_run(fake.write(tmp_path, scenarios=["steady"], chats=8))
    assert live_data([Side(run, write_summary(run))]) is None


def test_a_report_of_many_aborts_keeps_its_size(rich: Path, tmp_path: Path) -> None:
    """The pictures of the richest run, and the data of more aborts than are drawn."""
    run = read_run(fake.write(tmp_path, scenarios=["flowing", "stalled", "first-token"], chats=420))
    data = live_data([Side(run, write_summary(run))])
    assert data is not None
    drawn, all_of = map(sum, zip(*((len(each["id"]), each["of"]) for each in json.loads(data)["chats"]), strict=True))
    assert MOST_CHATS / 2 <= drawn <= MOST_CHATS + len(run.cases) < all_of
    before, _data, after = re.split(r'(?<=id="live-data">)([^<]*)', (rich / "report.html").read_text())
    assert len(f"{before}{data}{after}".encode()) < MOST_BYTES
