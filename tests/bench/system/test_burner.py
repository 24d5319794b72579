"""A load without enough CPU makes the run invalid: exit code 2, and the cause in the output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system.burner import BURNERS, starved
from tests.bench.small_runs import manifest_of

PROBLEM = "bench: problem: "
CASE = "memory-push in flowing"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux can pin a process to a core")
@pytest.mark.timeout(200)
def test_a_run_with_a_starved_load_is_invalid(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench.shrunk",
        "run",
        "--strategy",
        "memory-push",
        "--workers",
        "1",
        "--quick",
    ]
    command += ["--scenario", "flowing", "--starve", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 2, done.stderr
    assert manifest_of(tmp_path / "latest-quick")["settings"]["starve"] is True
    problems = [line for line in done.stderr.splitlines() if line.startswith(PROBLEM) and CASE in line]
    late = [line for line in problems if "the load (process " in line or "after their planned moment" in line]
    assert late, done.stderr
    assert all("limit" in line and "add load processes and cores" in line for line in late)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux can pin a process to a core")
def test_a_starved_process_shares_a_core_with_the_burners_within_the_block() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        with starved([victim.pid]):
            assert len(os.sched_getaffinity(victim.pid)) == 1
            mine = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
            assert len(Path(mine).read_text().split()) >= BURNERS + 1
        victim.communicate(b"\n")
    assert victim.returncode == 0
