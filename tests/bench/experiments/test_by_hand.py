"""`python -m bench locust`: Locust's web UI drives the chats of a scenario, and they become a results folder."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.analysis.reading import read_run
from bench.system.embedded import free_port
from bench.system.http import request_json
from tests.bench.command import Bench

OPTIONS = ("--backend", "memory", "--workers", "1", "--scenario", "flowing")


def rows_with_stop(url: str) -> dict[str, dict[str, Any]]:
    """The rows of the UI's table by name, when one of them is about Stops."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = {row["name"]: row for row in request_json(url, "/stats/requests")["stats"]}
        if any("end after Stop" in name for name in rows):
            return rows
        time.sleep(0.2)
    raise AssertionError("no Stop was reported")


def test_ctrl_c_ends_everything_and_leaves_a_report_of_what_the_witness_saw(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-u", "-m", "bench", "locust", *OPTIONS, "--users", "4", "--results", str(tmp_path)]
    command += ["--web-port", url.rpartition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"web UI: {url};" in process.stdout.readline()
        started = psutil.Process(process.pid).children(recursive=True)
        seen = rows_with_stop(url)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert started
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert seen["flowing_by_hand: end after Stop"]["method"] == "as Locust saw it"
    assert "report: " in said
    folder = next(tmp_path.glob("*-locust-memory-push"))
    assert (folder / "report.html").exists()
    run = read_run(folder)
    by_hand = [chat for chat in run.chats if chat.key[1] == "flowing_by_hand"]
    assert len({chat.request_id for chat in by_hand}) == len(by_hand) >= 4
    stopped = [chat.measured.upstream_stop_ms for chat in by_hand if chat.measured.outcome == "stopped"]
    assert stopped
    assert None not in stopped  # the witness saw each of them end
    assert (tmp_path / "latest-quick").resolve() == folder
    assert not (tmp_path / "latest").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--run-time", "5"), "--run-time needs --users"),
        (("--backend", "rediss"), "choose from"),
        (("--scenario", "outage"), "cannot be driven by hand"),
        (("--web-port", "{taken}"), "choose another: --web-port"),
    ],
)
def test_bad_usage_is_one_line_and_starts_nothing(
    bench: Bench, tmp_path: Path, options: tuple[str, str], says: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        name, value = options
        value = value.format(taken=taken.getsockname()[1])
        done = bench("locust", "--results", str(tmp_path), name, value)
    assert done.returncode == 4
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
