"""The import contracts of pyproject.toml (import-linter): they hold, and breaking one is reported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("server", "backends", "bench", "mock_llm")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_the_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("backends/base.py", "import anyio"),
        ("backends/base.py", "import backends.memory"),
        ("backends/redis/store.py", "import backends.memory"),
        ("backends/memory.py", "import asyncpg"),
        ("backends/memory.py", "import server.settings"),
        ("server/http/hosts.py", "import server.relay.chunks"),
        ("mock_llm/settings.py", "import server.settings"),
        ("bench/workload/plan.py", "import backends"),
        ("bench/workload/plan.py", "import locust"),
        ("bench/load/driver.py", "import bench.load.locustfile"),
        ("bench/run/campaign.py", "import bench.report.render"),
        ("bench/report/render.py", "import bench.run.campaign"),
        ("bench/report/render.py", "import bench.gate.verdict"),
        ("bench/gate/verdict.py", "import bench.report.render"),
        ("bench/stats/paired.py", "import bench.workload.plan"),
        ("bench/analysis/summary.py", "import pandas"),
    ],
)
def test_a_broken_contract_is_reported(tmp_path: Path, module: str, line: str) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    broken = tmp_path / module
    broken.write_text(f"{broken.read_text()}\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert "BROKEN" in result.stdout
