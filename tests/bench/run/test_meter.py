"""What the meter writes down of a case: the schedule before it is sent, and dropped chats in the arm they belong to."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.load.loaded import Loaded
from bench.record.writer import Results
from bench.run import meter
from bench.run.instrument import CALIBRATION_CASE
from bench.run.meter import Measured, Meter, Subject
from bench.run.subject import Side
from bench.run.target_process import Attached
from bench.system.procs import ChildError
from bench.workload.plan import Case
from tests.bench.small_runs import cases_of, schedule_of, small


class Load:
    """A load that drops what it is told to drop and sends nothing, or dies."""

    def __init__(self, *, drops: str = "", dies: bool = False) -> None:
        self._drops, self._dies = drops, dies

    def pids(self) -> list[int]:
        return []

    def processes_for(self, _case: Case) -> int:
        return 1

    def send(self, _case: Case, _planned: Any, request_ids: list[str], **_rest: Any) -> Loaded:
        if self._dies:
            raise ChildError("locust died")
        return Loaded([], [each for each in request_ids if self._drops in each], [])


class NoMonitor(contextlib.nullcontext[Any]):
    """Nobody is watched."""

    def __init__(self, _url: str) -> None:
        super().__init__(SimpleNamespace(watch=lambda *_: None, health=lambda *_, **__: None))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "request_json", lambda *_: None)
    monkeypatch.setattr(meter, "ResourceMonitor", NoMonitor)
    monkeypatch.setattr(meter, "settled", lambda *_, **__: ([], []))


def measure(case: Case, load: Load, parent: Path, service: Any = None) -> Path:
    results = Results(parent, "test")
    child: Any = SimpleNamespace(url="", cpu_s=lambda: 0.0, pid=0)
    view: Any = SimpleNamespace(finished=lambda *_: None, advance=lambda *_: None)
    under_test = Meter(child, load, view, seed=1, token="t", schedules={})  # type: ignore[arg-type]
    with contextlib.suppress(ChildError):
        under_test.measure(case, 0, Subject(service or child, [Measured(Side(), results)]))
    return results.folder


def test_the_schedule_is_written_before_anything_is_sent(tmp_path: Path) -> None:
    folder = measure(Case("redis-push", small("flowing", chats=7), 2), Load(dies=True), tmp_path)
    (saved,) = schedule_of(folder)
    assert (saved["scenario"], len(saved["chats"])) == ("flowing", 7)
    assert not (folder / "cases.jsonl").exists()


def test_each_arm_of_the_calibration_has_its_own_dropped_chats(tmp_path: Path) -> None:
    case = replace(CALIBRATION_CASE, scenario=replace(CALIBRATION_CASE.scenario, chats=16))
    rows = {row["strategy"]: row for row in cases_of(measure(case, Load(drops="-delay-"), tmp_path))}
    found = {name.rpartition("-")[2]: (row["chats_planned"], row["dropped"]) for name, row in rows.items()}
    assert found == {"instant": (4, 0), "delay": (4, 4), "drop": (8, 0)}


@pytest.mark.parametrize(("attached", "cpu_s"), [(True, None), (False, 0.0)])
def test_the_cpu_time_of_an_attached_service_is_unknown(tmp_path: Path, attached: bool, cpu_s: float | None) -> None:
    service = Attached("http://127.0.0.1:1") if attached else None
    (row,) = cases_of(measure(Case("redis-push", small("flowing", chats=3), 2), Load(), tmp_path, service))
    assert row["service_cpu_s"] == cpu_s
