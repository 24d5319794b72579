"""What the summary and its tables say of how it was measured: health, loops, intended moments, idling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from bench.analysis.health import case_health
from bench.analysis.summary import summarise
from bench.record.base import read_file
from bench.record.manifest import Manifest, ScenarioSettings
from bench.record.schema import CaseRow
from bench.record.summary import Summary, SummaryCase
from bench.report.pages import Table
from bench.report.tables import load_of, method_tables
from tests.bench import fake_blocks


def tables_of(case: SummaryCase, manifest: Manifest | None = None) -> list[Table]:
    return method_tables(Summary(valid=True, cases=[case]), manifest or Manifest())


LOAD: dict[str, Any] = {"name": "load", "pid": 7, "cpu": 0.3, "lag_p99_ms": 1.0, "lag_max_ms": 2.0, "gc_max_ms": 0.0}


def row(*, lag_ms: float = 1.0, pacing_ms: float = 0.5, **health: Any) -> dict[str, Any]:
    processes = [LOAD | {"lag_p99_ms": lag_ms}, LOAD | {"name": "mock", "pid": 8, "cpu": None}]
    processes.append(LOAD | {"name": "service", "pid": 9, "cpu": 1.0, "lag_p99_ms": 99.0})
    signs = {"steal": 0.0, "chat_lag_p99_ms": None, "abort_lag_p99_ms": 1.0, "chunks_per_s": 4000.0} | health
    return {"load_processes": 2, "witness_late_p99_ms": pacing_ms, "health": signs | {"processes": processes}}


def mark_of(*rows: dict[str, Any]) -> dict[str, Any]:
    key = {"strategy": "redis-push", "scenario": "flowing", "workers": 2, "streams": 50, "block": 0}
    found: dict[str, Any] = msgspec.to_builtins(case_health([msgspec.convert(key | each, CaseRow) for each in rows]))
    return found


def test_a_mark_holds_the_worst_of_all_blocks_and_what_was_wrong_in_them() -> None:
    mark = mark_of(row(), row(lag_ms=7.0, abort_lag_p99_ms=9.0), row(pacing_ms=2.0, steal=0.01))
    assert (mark["ok"], mark["unwell_blocks"], len(mark["problems"])) == (False, 1, 2)
    assert (mark["load_lag_p99_ms"], mark["mock_lag_p99_ms"], mark["mock_cpu"]) == (7.0, 1.0, None)
    assert (mark["abort_lag_p99_ms"], mark["chat_lag_p99_ms"]) == (9.0, None)
    assert (mark["pacing_p99_ms"], mark["steal"], mark["chunks_per_s"]) == (2.0, 0.01, 2000.0)
    assert mark_of(row())["ok"] is True
    assert mark_of({})["load_cpu"] is None, "an old record"


def test_a_mark_holds_the_worst_phase_of_all_blocks() -> None:
    calm, busy = row(), row()
    calm["health"]["processes"][0]["phases"] = {"arriving": {"cpu": 0.4}, "ending": {"cpu": None}}
    busy["health"]["processes"][0]["phases"] = {"arriving": {"cpu": 0.93}, "ending": {"cpu": 0.1}}
    mark = mark_of(calm, busy, row(), {})
    assert (mark["load_cpu"], mark["load_cpu_worst_phase"], mark["mock_cpu_worst_phase"]) == (0.3, 0.93, None)
    assert mark["ok"] is True, "phases are no reason not to believe a run"
    case = {"scenario": "flowing", "strategy": "none", "workers": 2, "streams": 50, "blocks": 4, "health": mark}
    assert tables_of(msgspec.convert(case, SummaryCase))[-1].rows[0][3] == "30 % / 93 %"


def test_the_tables_show_each_case_s_health_loop_and_intended_times(tmp_path: Path) -> None:
    folder = fake_blocks.write(
        tmp_path / "run", strategies=["redis-push", "none"], scenarios=["flowing", "steady"], blocks=5, chats=30
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    lines = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    for line in lines:
        line.update(row(lag_ms=6.0 if (line["strategy"], line["block"]) == ("none", 2) else 1.0))
        line["rate_per_s"] = None if line["scenario"] == "steady" else 80.0
    (folder / "cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    idle = {"strategy": "redis-push", "workers": 2, "streams": 20, "window_s": 2.0, "idle_ops_per_s": 4.5}
    manifest["idle"] = [idle | {"idle_cpu_ms_per_s": 1.25, "idle_store_cpu_ms_per_s": None}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    summary = summarise(folder)
    assert {case.scenario: case.loop for case in summary.cases} == {"flowing": "open", "steady": "closed"}
    assert {case.strategy: case.health and case.health.ok for case in summary.cases} == {
        "redis-push": True,
        "none": False,
    }
    well = {(each[0], each[1]): each[2] for each in method_tables(summary, Manifest())[-1].rows}
    assert well["flowing, 2 w", "redis-push"] == "yes"
    assert well["flowing, 2 w", "none"] == "no: 1 of 5 blocks"
    tables = method_tables(summary, read_file(folder / "manifest.json", Manifest))
    assert [len(table.heads) for table in tables] == [len(table.rows[0]) for table in tables]
    assert tables[1].rows == [("redis-push, 2 w", "4.5", "1.2", "-")]


def test_a_late_load_shows_in_the_intended_time_beside_service_time() -> None:
    metrics = {
        name: {"n": 400, "p50": value, "p99": 10 * value, "ci95": {}}
        for name, value in (("upstream_stop_ms", 2.0), ("upstream_stop_intended_ms", 5.0))
    }
    row = {"scenario": "flowing", "workers": 2, "streams": 9, "strategy": "redis-push", "loop": "open"}
    case = msgspec.convert(row | {"metrics": metrics}, SummaryCase)
    manifest = {"scenarios": {"flowing": {"rate_per_s": 80, "arrivals": "constant", "streams": 9}}}
    table, _health = tables_of(case, msgspec.convert(manifest, Manifest))
    assert table.rows[0][2:] == ("open loop, 80/s constant", "2.00 / 20.0", "5.00 / 50.0", "-", "-")
    assert load_of(ScenarioSettings(streams=100)) == "closed loop, 100 readers"
    assert len(tables_of(msgspec.structs.replace(case, loop="closed"))) == 1
