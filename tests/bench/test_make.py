"""The Makefile: the commands that targets run, the values that they refuse, and what they install (make -n)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
VARIABLES = (
    "QUICK",
    "BACKEND",
    "SCENARIO",
    "WORKERS",
    "LOAD",
    "ARGS",
    "A",
    "B",
    "BASE",
    "RUN_DIR",
    "MAKEFLAGS",
    "MAKELEVEL",
)
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
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
def test_quick_accepts_booleans(target: str, value: str, quick: bool) -> None:
    assert ("--quick" in recipe(target, f"QUICK={value}")) is quick
    assert ("--quick" in recipe(target, QUICK=value)) is quick


@pytest.mark.parametrize("target", ["bench", "stop-path", "bench-backends"])
def test_quick_rejects_other_values(target: str) -> None:
    done = make("-n", target, "QUICK=maybe")
    assert done.returncode == 2
    assert "QUICK is 'maybe': choose from 1, true, yes, on, 0, false, no, off" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("target", ["bench", "serve", "knee", "soak", "bench-backends"])
def test_backend_is_passed_on_unchanged(target: str) -> None:
    assert "redis-push" in recipe(target, "BACKEND=redis-push")
    assert '"all"' in recipe(target), "the default is the bench's own"


@pytest.mark.parametrize("target", ["doctor", "serve", "bench", "regress", "setup", "test", "check", "clients"])
def test_only_tests_and_checks_install_the_test_set(target: str, tmp_path: Path) -> None:
    text = recipe(target, f"VENV={tmp_path}/.venv")
    assert "--require-hashes -r requirements.lock" in text
    needs_tests = target in ("test", "check", "clients")
    assert ("--require-hashes -r requirements-test.lock" in text) is needs_tests


@pytest.mark.parametrize(
    ("changed", "installed"),
    [
        ("pyproject.toml", ["--editable ."]),
        ("requirements.lock", ["venv --clear", "-r requirements.lock", "--editable .", "-r requirements-test.lock"]),
        ("requirements-test.lock", ["-r requirements-test.lock"]),
    ],
)
def test_a_change_reinstalls_no_more_than_needed(changed: str, installed: list[str], tmp_path: Path) -> None:
    for stamp in (".ready", ".ready-test"):
        (tmp_path / stamp).touch()
    text = recipe("check", f"VENV={tmp_path}", "-W", changed)
    assert re.findall(r"venv --clear|--editable \.|-r requirements\S*", text) == installed
    assert "pip install" not in recipe("check", f"VENV={tmp_path}")


def test_the_locks_pin_the_same_versions_and_hold_no_address() -> None:
    service, run, test = ((ROOT / f"requirements{name}.lock").read_text() for name in ("-service", "", "-test"))
    pins = [set(re.findall(r"^[a-z0-9].*?==[^ ;]+", text, re.MULTILINE)) for text in (service, run, test)]
    assert len(pins[1]) > 50
    assert pins[0] < pins[1] < pins[2]
    assert "://" not in service + run + test


def test_slow_tests_are_found_by_their_target_only(tmp_path: Path) -> None:
    run = ("-f", str(ROOT / "Makefile"), "-C", str(tmp_path), "test-slow")
    empty = make(*run)
    assert (empty.returncode, empty.stdout) == (0, "make: tests/slow has no tests\n"), empty.stderr
    folder = tmp_path / "tests" / "slow"
    folder.mkdir(parents=True)
    (folder / "test_hours.py").write_text("def test_hours(): pass\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert "-m pytest tests/slow" in make("-n", "-o", ".venv/.ready-test", *run).stdout
    plain = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": os.environ["PATH"]}  # five times as fast
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", "-o", "filterwarnings="]
    for arguments, found in (([], False), (["tests/slow"], True)):
        command = [*collect, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)
        assert ("test_hours" in done.stdout) is found


def test_help_groups_every_target_once() -> None:
    text = make("help").stdout
    heads = [line for line in text.splitlines() if not line.startswith(" ")]
    assert heads == ["Start here", "Measure", "Gate", "Develop"]
    shown = re.findall(r"^  make ([a-z-]+) ", text, re.MULTILINE)
    assert sorted(shown) == sorted(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert shown[0] == "doctor"


def test_lock_without_uv_names_the_package_to_install(tmp_path: Path) -> None:
    for program in ("make", "sh", "echo"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    done = make("lock", PATH=str(tmp_path))
    assert done.returncode == 2  # make's own
    assert done.stderr.splitlines()[0] == "make: uv is not installed: pip install uv, then make lock again"
