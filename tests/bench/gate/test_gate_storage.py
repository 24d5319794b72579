"""The gate on a full disk, and beside another bench: exit code and verdict files say that there is no verdict."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.gate import baseline
from bench.gate.commits import Comparison
from bench.gate.export import write, write_failure
from bench.gate.outcome import Outcome
from bench.gate.regress import Gate
from bench.record.verdict import Baseline, BaselineMargins, SideInfo
from bench.system.lock import only_bench
from tests.bench.cli.test_cli_regress import bench as regress
from tests.bench.run.test_storage import room

OUTCOME = Outcome(base=SideInfo(name="base"), head=SideInfo(name="head"), margin_source="default margins")


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.setattr("bench.gate.commits.choose_base", lambda *_, **__: Comparison("base", "1", "1", "2", 1, 0, ""))
    return tmp_path / "outputs"


def verdict(tmp_path: Path) -> Any:
    (file,) = (tmp_path / "results").glob("*-regress-head/verdict.json")
    return json.loads(file.read_text())


def test_a_disk_that_is_full_in_mid_run_is_no_regression(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def run(gate: Gate, *_: object, **__: object) -> None:
        seen.append(json.loads((gate.folder / "verdict.json").read_text()))
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    monkeypatch.setattr(Gate, "run", run)
    done = regress(tmp_path)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "/somewhere cannot be written (No space left on device)" in done.stderr
    assert [(each["verdict"], each["exit_code"]) for each in seen] == [("invalid", 2)], "also if nothing more fits"
    assert (verdict(tmp_path)["verdict"], verdict(tmp_path)["exit_code"]) == ("invalid", 2)
    assert "No space left on device" in verdict(tmp_path)["sentence"]
    assert outputs.read_text() == "verdict=invalid\nexit-code=2\nmeasured=false\n"


def test_a_verdict_that_does_not_fit_is_none(tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Gate, "run", lambda *_, **__: OUTCOME)
    monkeypatch.setattr("bench.gate.export.write", no_room)
    done = regress(tmp_path)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "the verdict cannot be written (No space left on device): free some space" in done.stderr
    assert verdict(tmp_path)["exit_code"] == 2
    assert "exit-code=2" in outputs.read_text()


@pytest.mark.parametrize(
    "again", [lambda folder: write(OUTCOME, folder, print), lambda folder: write_failure("why", 2, folder)]
)
def test_verdict_files_are_written_all_or_none(tmp_path: Path, again: Callable[[Path], object]) -> None:
    write_failure("broke off", 2, tmp_path, {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {"verdict.json", "verdict.xml"}
    with room(100), pytest.raises(OSError, match="File too large"):
        again(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_bench_is_on_github_too(tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_LOCK", str(tmp_path / "lock"))
    with only_bench():
        done = regress(tmp_path)
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    assert "another bench runs here" in done.stderr
    assert outputs.read_text() == "verdict=invalid\nexit-code=4\nmeasured=false\n"
    assert not (tmp_path / "results").exists()


def test_a_quick_that_is_neither_yes_nor_no_is_reported_too(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "run", lambda *_, **__: OUTCOME)
    for value, code in (("maybe", 4), ("yes", 4), ("1", 4), ("no", 2), ("false", 2), ("0", 2)):
        monkeypatch.setenv("QUICK", value)
        assert regress(tmp_path).exit_code == code, "2: OUTCOME compares nothing"
    assert outputs.read_text().count("exit-code=4") == 3


def test_a_run_with_another_environment_is_not_compared_with_the_baseline() -> None:
    old, kept, run = (
        Baseline(
            run="", commit=None, host=None, record_schema=1, workers=2, strategies=["none"], scenarios={}, cases=[],
            floor_p50_ms=1.0, margins=BaselineMargins(measured=False, says="", of={}), environment=environment,
        )
        for environment in (None, {"ABORT_INTERVAL_MS": "50"}, dict[str, str]())
    )  # fmt: skip
    assert baseline.unlike(kept, run) == "environment: ABORT_INTERVAL_MS is '50' there and None here"
    assert baseline.unlike(kept, kept) is None
    assert baseline.unlike(old, kept) is None, "an old baseline does not record it"
