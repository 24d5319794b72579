"""The counter of proofs adds up over invocations, apart by machine, mode and version; the simulation's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.experiments.prove import counter
from bench.experiments.prove.simulate import read_spreads, too_often_wrong, write_page
from bench.gate.simulation import Cell, Spread
from bench.gate.verdict import Margin
from bench.record.manifest import Host
from bench.workload.scenario import PlanError

HERE = Host(cpu="a CPU", cpus=2, system="Linux 6.1")
CELL = Spread("case", "upstream_stop_ms", [0.0] * 5, 2.0, Margin(0.1))


def run(part: str, verdict: str, *, found: bool | None = None, mode: str | None = "duet") -> dict[str, Any]:
    return {"part": part, "verdict": verdict, "found": found, "seconds": 90.0, "mode": mode}


def test_counts_add_up_and_are_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "prove.json"
    for date, entry in (
        ("2026-11-29T01:00:00Z", run("aa", "equivalent")),
        ("2026-11-30T01:00:00Z", run("aa", "worse")),
        ("2026-11-30T02:00:00Z", run("aa", "invalid")),
        ("2026-11-30T02:00:00Z", run("aa", "invalid", mode=None)),
        ("2026-11-30T03:00:00Z", run("delay", "worse", found=True)),
    ):
        counter.add(file, entry, host=HERE, commit="abc", date=date)
    counter.add(file, run("aa", "worse", mode="turns"), host=HERE, commit="abc", date="2026-12-01")
    counter.add(
        file, run("aa", "worse"), host=Host(cpu="another", cpus=2, system="Linux"), commit="a", date="2026-12-01"
    )
    counter.add(file, run("aa", "worse"), host=HERE, commit="abc", date="2026-12-01", version=-1)
    record = counter.read(file)
    assert len(record["counts"]) == 4
    aa = record["counts"][0]["parts"]["aa"]
    assert (aa["runs"], aa["invalid"], aa["worse"], aa["minutes"]) == (2, 1, 1, 4.5)
    assert aa["dates"] == ["2026-11-29", "2026-11-30"]
    lines = counter.progress(record, HERE, "duet")
    assert lines[0].startswith("aa: 2 of 59 runs, 1 false alarms (1.3 to 98.7 %, exact 95 % interval, 1 invalid)")
    assert lines[1].startswith("delay: 1 of 14 runs, found 1 times (2.5 to 100.0 %")


def test_another_file_is_not_taken_for_a_counter(tmp_path: Path) -> None:
    file = tmp_path / "prove.json"
    file.write_text(json.dumps({"schema": 1, "runs": []}))
    with pytest.raises(PlanError, match="schema 1"):
        counter.read(file)


def test_blocks_of_several_records_are_joined() -> None:
    file = Path(__file__).parents[3] / "results/reference/gate-blocks.json"
    once, twice = read_spreads([file])[0], read_spreads([file, file])[0]
    assert len(twice.changes) == 2 * len(once.changes) > 0
    assert sum(once.changes) == pytest.approx(0.0, abs=1e-9)


def test_a_record_without_blocks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="make regress"):
        read_spreads([tmp_path / "absent.json"])


def test_a_cell_that_is_wrong_too_often_is_named() -> None:
    rare = Cell(CELL, 0.0, 5, {"inconclusive": 0, "equivalent": 3960, "worse": 40, "better": 0})
    often = Cell(CELL, 0.2, 5, {"inconclusive": 0, "equivalent": 100, "worse": 3900, "better": 0})
    assert too_often_wrong([rare, often]) == ["upstream_stop_ms (case), +20%, 5 blocks: equivalent in 2.5% (limit 1%)"]


def test_only_the_marked_table_of_the_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "gate.md"
    page.write_text("before\n<!-- error-rates -->\nold\n<!-- /error-rates -->\nafter\n")
    write_page(page, "new\n")
    assert page.read_text() == "before\n<!-- error-rates -->\nnew\n<!-- /error-rates -->\nafter\n"
    page.write_text("no marks")
    with pytest.raises(PlanError, match="marks"):
        write_page(page, "new\n")
