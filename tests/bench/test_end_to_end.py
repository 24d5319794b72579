"""Small real runs: everything started, measured, written down, and stopped again, however the run ends."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from bench.embedded import temporary_folder
from bench.measures import measure
from bench.meter import Measured
from bench.plan import Case
from bench.procs import ChildError
from bench.records import Results
from bench.runner import Run, Settings
from bench.scenario import load_scenarios
from bench.service import Side

FLOWING = replace(load_scenarios(["flowing"])[0], rate_per_s=None, streams=6, chats=18, output_tokens=30)
STEADY = replace(load_scenarios(["steady"])[0], streams=6, chats=18, output_tokens=30)
SETTINGS = Settings("redis", workers=2, quick=True, seed=1, label="test")


def measured(tmp_path: Path, strategy: str) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    results = Results(tmp_path, "test")
    Run([Case(strategy, FLOWING, 2)], SETTINGS, [Measured(Side(), results)], Console(quiet=True)).execute()
    rows = [row for row in read_chats(results.folder) if row["strategy"] == strategy]
    cases = [json.loads(line) for line in (results.folder / "cases.jsonl").read_text().splitlines()]
    assert [case["scenario"] for case in cases] == ["calibration"] * 3 + ["floor", "flowing"]
    return results.folder, rows, cases[-1]


def read_chats(folder: Path) -> list[dict[str, Any]]:
    with gzip.open(folder / "chats.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("strategy", ["redis-push", "postgres-push", "disconnect"])
def test_a_strategy_is_measured_end_to_end(tmp_path: Path, strategy: str) -> None:
    with temporary_folder("watch"):  # the watchman is there from now on, and stays
        before = set(psutil.Process().children(recursive=True))
    folder, rows, case = measured(tmp_path, strategy)
    each = [measure(row) for row in rows]
    aborted = round(FLOWING.abort_share * FLOWING.chats)
    assert [row["index"] for row in rows] == list(range(FLOWING.chats))
    assert [(one.kind, one.error) for one in each].count(("stopped", None)) == aborted
    assert [(one.kind, one.error) for one in each].count(("plain", None)) == FLOWING.chats - aborted
    assert all(0 < one.upstream_stop_ms < 1000 for one in each if one.upstream_stop_ms is not None)
    for row in rows:  # one clock: what happened first has the smaller stamp
        client, service, witness = row["client"], row["service"], row["witness"]
        assert client["sent_ns"] < service["received_ns"] < witness["received_ns"] < witness["token_ns"][0]
        assert witness["headers_ns"] < client["token_ns"][0] <= client["end_ns"]
        # The witness stamps a token after it has written it, so the client may have it some microseconds before.
        assert witness["token_ns"][0] - client["token_ns"][0] < 1e6
        if row["abort"] is not None:
            sent_after_ms = (row["abort"]["sent_ns"] - client["sent_ns"]) / 1e6
            assert row["abort"]["after_ms"] - 1 < sent_after_ms < row["abort"]["after_ms"] + 100
            if strategy != "disconnect":
                assert row["abort"]["sent_ns"] < service["abort_received_ns"] < row["abort"]["ack_ns"]
                assert (client["finish_reason"], service["finish_reason"]) == ("abort", "abort")
                assert row["abort"]["outcome"] == service["abort_outcome"] == "accepted"
    assert case["tokens"] == sum(len(row["client"]["token_ns"]) for row in rows) > 0
    assert case["service_cpu_s"] > 0
    assert case["ended_ns"] > case["started_ns"]
    if strategy == "disconnect":
        assert case["store_ops"] is None
    else:  # at least register and release; and neither one per token, nor what starting and warming up cost
        most = {"redis-push": 12, "postgres-push": 6}[strategy]
        assert 2 * FLOWING.chats <= case["store_ops"] <= most * FLOWING.chats
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["quick"] is True
    assert manifest["asgi"]["server"].startswith("uvicorn ")
    assert "password" not in json.dumps(manifest)
    assert "://" not in json.dumps(manifest)
    assert (tmp_path / "latest").resolve() == folder.resolve()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_service_that_cannot_start_keeps_the_run_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABORT_TTL_S", "never")
    with pytest.raises(ChildError, match=r"(?s)server ended with exit code 4 .*abort_ttl_s"):
        measured(tmp_path, "redis-push")
    (folder,) = tmp_path.iterdir()  # `latest` was not touched
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False
    assert "abort_ttl_s" in (folder / "logs" / "server-redis-push.log").read_text()


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
        [sys.executable, "-m", "bench", "run", *arguments, str(tmp_path / "results")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with run:
        assert run.stdout is not None
        assert "first-token" in run.stdout.readline()
        family: list[psutil.Process] = []
        deadline = time.monotonic() + 20
        while not any("locust" in " ".join(process.cmdline()) for process in family if not gone(process)):
            assert time.monotonic() < deadline
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
    assert len(family) >= 7  # watchman, valkey, mock, supervisor and two workers (and its tracker), locust
    (os.killpg if whom == "group" else os.kill)(run.pid, signum)
    _, errors = run.communicate(timeout=30)
    deadline = time.monotonic() + 15
    while not all(gone(process) for process in family) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [process for process in family if not gone(process)] == []
    assert list(tmp_path.glob("stopwatch-*")) == []
    (folder,) = (tmp_path / "results").iterdir()
    cases = (folder / "cases.jsonl").read_text().splitlines()
    assert [json.loads(line)["scenario"] for line in cases] == ["first-token"]
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False
    if signum != signal.SIGKILL:
        assert run.returncode == 130
        assert "Traceback" not in errors
        assert str(folder) in errors
