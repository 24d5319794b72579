"""The gate on a repository that is not ours, where it gives no verdict: a broken head, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.bench.foreign_repository import action_folder, git, repository, run_action

pytestmark = pytest.mark.timeout(180)


def test_a_head_that_does_not_start_makes_the_job_red(tmp_path: Path) -> None:
    top = repository(tmp_path, "broken")
    done = run_action(top, tmp_path, base="main~1", target="stop.toml", scenario="flowing")
    assert (done.code, done.outputs["verdict"], done.outputs["measured"]) == (2, "invalid", "false")
    assert f"head ({git(top, 'rev-parse', 'HEAD')[:7]}): small-chat " in done.text
    assert "SyntaxError" in done.text
    assert "Traceback" not in done.text.partition("its log is")[0]


def test_ctrl_c_removes_worktrees_and_processes(tmp_path: Path) -> None:
    """While the setup of base runs; tests/bench/run/test_interrupted_run.py does it during a measurement."""
    top, folder, results = repository(tmp_path, "none"), action_folder(tmp_path), tmp_path / "results"
    target = (top / "stop.toml").read_text()
    lines = ['setup = ["sh", "-c", "touch {{venv}}/began; exec sleep 600"]' if line.startswith("setup") else line
             for line in target.splitlines()]  # fmt: skip
    (top / "stop.toml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "bench", "regress", "--target", str(top / "stop.toml"), "--base", "main~1"]
    bench = subprocess.Popen(
        [*command, "--results", str(results)],
        cwd=folder,
        env=os.environ | {"BENCH_LOCK": str(tmp_path / "lock")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not list((folder / ".targets").glob("setup-*/began")):
            assert bench.poll() is None
            time.sleep(0.05)  # the file appears when the setup runs
        children = psutil.Process(bench.pid).children(recursive=True)
        assert "sleep" in {child.name() for child in children}
        assert git(top, "worktree", "list").count("\n") == 2
    finally:
        bench.send_signal(signal.SIGINT)
        error = bench.communicate()[1]
    assert bench.returncode == 130
    assert error.splitlines()[-1] == "bench: interrupted; everything started has been stopped"
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert git(top, "worktree", "list").count("\n") == 0
