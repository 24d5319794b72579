"""`make` as a person types it: what it hands on to the bench, and what it refuses. Nothing is started (make -n)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OURS = ("QUICK", "BACKEND", "SCENARIO", "WORKERS", "ARGS", "A", "B", "BASE", "RUN_DIR", "MAKEFLAGS", "MAKELEVEL")
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=clean | env,
    )


def recipe(*arguments: str, **env: str) -> str:
    done = make("-n", *arguments, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", ["bench", "stop-path", "bench-backends"])
@pytest.mark.parametrize(
    ("value", "quick"),
    [(value, True) for value in ("1", "true", "yes", "YES", "on")]
    + [(value, False) for value in ("0", "false", "no", "off", "")],
)
def test_quick_takes_yes_and_no(target: str, value: str, quick: bool) -> None:
    assert ("--quick" in recipe(target, f"QUICK={value}")) is quick
    assert ("--quick" in recipe(target, QUICK=value)) is quick


@pytest.mark.parametrize("target", ["bench", "stop-path", "bench-backends"])
def test_quick_refuses_other_values(target: str) -> None:
    done = make("-n", target, "QUICK=maybe")
    assert done.returncode == 2
    assert "QUICK is 'maybe': choose from 1, true, yes, on, 0, false, no, off" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("target", ["bench", "serve", "knee", "soak", "bench-backends"])
def test_a_strategy_is_handed_on_as_it_is(target: str) -> None:
    assert "redis-push" in recipe(target, "BACKEND=redis-push")
    assert '"all"' in recipe(target), "the default is the bench's own"


def test_help_groups_every_target_once() -> None:
    text = make("help").stdout
    heads = [line for line in text.splitlines() if not line.startswith(" ")]
    assert heads == ["Start here", "Measure", "Gate", "Develop"]
    shown = re.findall(r"^  make ([a-z-]+) ", text, re.MULTILINE)
    assert sorted(shown) == sorted(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert shown[0] == "doctor"


def test_lock_without_uv_says_what_to_install(tmp_path: Path) -> None:
    for program in ("make", "sh", "echo"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    done = make("lock", PATH=str(tmp_path))
    assert done.returncode == 2  # make's own
    assert done.stderr.splitlines()[0] == "make: uv is not installed: pip install uv, then make lock again"
