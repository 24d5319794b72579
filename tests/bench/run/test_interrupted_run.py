"""A run that a signal ends: its finished cases stay, and no process or temporary folder does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def under_way(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A run that has finished its first case and is loading the second, with all the processes it started."""
    arguments = ["--backend", "redis", "--quick", "--scenario", "first-token,steady", "--results"]
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.shrunk", "run", *arguments, str(tmp_path / "results")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with run:
        assert run.stdout is not None
        while "steady" not in (line := run.stdout.readline()):  # where nobody stops anything: it comes first
            assert line, "the run ended before its first case was finished"
        family: list[psutil.Process] = []
        orders = tmp_path.glob("stopwatch-run-*/order-0-3.json")  # after calibration, floor and steady: first-token
        deadline = time.monotonic() + 20
        while not any(orders) or not family:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # the file appears when the load begins
            orders = tmp_path.glob("stopwatch-run-*/order-0-3.json")
            family = psutil.Process(run.pid).children(recursive=True)
        yield run, family
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("signum", "whom"),
    [(signal.SIGINT, "process"), (signal.SIGINT, "group"), (signal.SIGTERM, "process"), (signal.SIGKILL, "process")],
)
def test_nothing_is_left_of_an_interrupted_run(
    tmp_path: Path, under_way: tuple[subprocess.Popen[str], list[psutil.Process]], signum: int, whom: str
) -> None:
    run, family = under_way
    assert len(family) >= 6  # reaper, stores, mock, locust, and the service with its workers
    (os.killpg if whom == "group" else os.kill)(run.pid, signum)
    _, errors = run.communicate(timeout=30)
    deadline = time.monotonic() + 15
    while not all(gone(process) for process in family) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [process for process in family if not gone(process)] == []
    assert list(tmp_path.glob("stopwatch-*")) == []
    (folder,) = (tmp_path / "results").iterdir()
    cases = (folder / "cases.jsonl").read_text().splitlines()
    assert [json.loads(line)["scenario"] for line in cases] == ["calibration"] * 3 + ["floor", "steady"]
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False
    if signum != signal.SIGKILL:
        assert run.returncode == 130
        assert "Traceback" not in errors
        assert str(folder) in errors
