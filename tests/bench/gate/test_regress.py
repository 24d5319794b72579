"""The gate for real: two commits of this project, checked out, measured side by side, and judged."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gate import GateError
from bench.gate.commits import ROOT, commit_of, worktrees
from bench.system.embedded import temporary_folder

SCENARIO = """
sentence = "Short."
ttft_ms = 20
itl_ms = 10
output_tokens = 40
rate_per_s = 60
streams = 50
chats = 20
abort_share = 1.0
abort_over = "stream"
abort_margin_ms = 100
"""

ATTEMPTS = 3
INVALID = 2
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def regress(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "regress", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")} | env
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, env=environment, check=False
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This project as it is now, two commits deep: what is not committed is in the first one."""
    folder = tmp_path / "clone"
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    for room in ("backends", "server", "mock_llm", "bench"):
        shutil.copytree(ROOT / room, folder / room, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "base")
    return folder


@pytest.mark.timeout(400)
def test_a_head_that_loses_aborts_is_found_without_statistics(clone: Path, tmp_path: Path) -> None:
    file = clone / "backends" / "__init__.py"
    code = file.read_text()
    assert '"push": PushDelivery' in code
    file.write_text(code.replace('"push": PushDelivery', '"push": Delivery'))
    git(clone, "commit", "--quiet", "--all", "--message", "head")
    (tmp_path / "short.toml").write_text(SCENARIO)
    arguments = ["--base", "HEAD~1", "--strategy", "redis-push", "--scenario", str(tmp_path / "short.toml")]
    for attempt in range(ATTEMPTS):
        results = tmp_path / f"results-{attempt}"
        done = regress(clone, *arguments, "--minutes", "1", "--results", str(results))
        if done.returncode != INVALID:  # 2: the machine was busy, and the gate gave no verdict
            break
    assert done.returncode == 1, done.stdout + done.stderr
    (folder,) = results.glob("*-regress-head")
    verdict = json.loads((folder / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["exit_code"]) == ("worse", 1)
    assert any(rule["rule"] == "missed" for rule in verdict["rules"])
    assert verdict["base"]["commit"] == git(clone, "rev-parse", "HEAD~1")
    assert verdict["head"]["commit"] == git(clone, "rev-parse", "HEAD")
    assert verdict["head"]["module"].endswith("/head/server/__init__.py")
    assert (verdict["base"]["reported"], verdict["base"]["ahead"], verdict["base"]["behind"]) == (True, 1, 0)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["side"] == "head"
    assert manifest["blocks"] < 5  # no statistics were waited for
    assert "<failure" in (folder / "verdict.xml").read_text()
    assert not (results / "latest").exists()  # a side of a comparison is not the newest run
    assert git(clone, "worktree", "list").count("\n") == 0  # base and head are gone again


def test_bad_usage_of_the_real_command_is_one_line_and_costs_nothing(tmp_path: Path) -> None:
    """More of them in tests/bench/cli/test_cli_gate.py."""
    done = regress(ROOT, "--base", "no-such-ref", "--results", str(tmp_path / "results"))
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "no-such-ref" in done.stderr
    assert not (tmp_path / "results").exists()


def test_worktrees_go_also_when_something_fails() -> None:
    with temporary_folder("watch"):
        before = git(ROOT, "worktree", "list")
    seen: list[Path] = []

    def fail() -> None:
        with worktrees("HEAD") as folders:
            seen.extend(folder for folder in folders if (folder / "server").is_dir())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(seen) == 2
    assert not any(folder.exists() for folder in seen)
    assert git(ROOT, "worktree", "list") == before


def test_a_ref_that_is_none_is_named() -> None:
    assert len(commit_of("HEAD")) == 40
    with pytest.raises(GateError, match=r"'v0\.0\.0-none' is not a commit"):
        commit_of("v0.0.0-none")
