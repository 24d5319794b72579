"""One measurement at a time on a machine: the second is rejected with the process id of the first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.system.lock import BusyError, only_bench

HOLD = "from bench.system.lock import only_bench\nwith only_bench():\n    print('held', flush=True)\n    input()"
ALONGSIDE = {"report", "compare", "scenarios", "strategies", "doctor", "baseline", "check", "history", "serve", "site"}
OPTIONS = {"load": ["--master"], "plan": ["--measure"]}
"""Those with which a command measures, if it does not without."""
MEASURING = sorted(
    {each.name or each.callback.__name__.replace("_", "-") for each in app.registered_commands if each.callback}
    - ALONGSIDE
)


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    monkeypatch.setenv("BENCH_LOCK", str(tmp_path / "lock"))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_every_command_that_measures_is_known() -> None:
    assert {
        "run",
        "rerun",
        "knee",
        "relay",
        "stop-path",
        "regress",
        "prove",
        "soak",
        "calibrate",
        "backends",
        "aa",
    } <= {*MEASURING}


@pytest.mark.parametrize("command", MEASURING)
def test_a_second_measurement_is_rejected_immediately(
    command: str, other: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [command, *OPTIONS.get(command, ())])
    assert result.exit_code == 4
    assert result.stderr.startswith(f"bench: another bench runs here (pid {other.pid}, started 20")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["lock"], "nothing was started or written"


def test_a_killed_bench_releases_the_lock(other: subprocess.Popen[str]) -> None:
    with pytest.raises(BusyError), only_bench():
        pass
    other.kill()
    other.wait()
    with only_bench():
        assert f'"pid": {os.getpid()}' in Path(os.environ["BENCH_LOCK"]).read_text()
    with only_bench():
        pass


def test_a_lock_with_an_unknown_holder_is_a_lock(other: subprocess.Popen[str]) -> None:
    Path(os.environ["BENCH_LOCK"]).write_text("nonsense")
    with pytest.raises(BusyError, match=r"another bench runs here \(pid unknown\)"), only_bench():
        pass
    assert other.poll() is None


def test_without_a_folder_for_the_lock_the_bench_runs_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_LOCK", str(tmp_path / "absent" / "lock"))
    with only_bench():
        pass
    assert "cannot be locked (No such file or directory)" in capsys.readouterr().err


def test_without_the_variable_the_lock_is_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_LOCK")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with only_bench(), pytest.raises(BusyError), only_bench():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["stopwatch-bench.lock"]
