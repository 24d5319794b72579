"""The composite action and the workflow: what is wired, and how the last step turns a verdict into red or green."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
VERDICTS = {"equivalent": 0, "better": 0, "worse": 1, "invalid": 2, "inconclusive": 3}


def read(path: str) -> dict[Any, Any]:
    yaml = importlib.import_module("yaml")
    found: dict[Any, Any] = yaml.safe_load((ROOT / path).read_text())
    return found


FAIL = {"INCONCLUSIVE": "fail", "INVALID": "fail"}
WARN = {"INCONCLUSIVE": "warn", "INVALID": "warn"}


def gate(**env: str) -> int:
    step = read("action.yml")["runs"]["steps"][-1]
    return subprocess.run(["bash", "-e", "-c", step["run"]], env=env, capture_output=True, check=False).returncode


def measure(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the measuring step as a runner does, with stand-ins for make and Python that tell how they were called."""
    step = next(step for step in read("action.yml")["runs"]["steps"] if step.get("id") == "measure")
    assert "${{" not in step["run"]  # a ref's name is data: it reaches the shell as a variable
    (folder / "gate" / ".venv" / "bin").mkdir(parents=True)
    (folder / "bin").mkdir()
    for name in ("bin/make", "gate/.venv/bin/python"):
        (folder / name).write_text('#!/bin/sh\necho "$(basename "$0") in $(pwd):"; printf "<%s>" "$@"; echo\n')
        (folder / name).chmod(0o755)
    given = {
        "BASE": "origin/main", "FOLDER": ".", "REQUIREMENTS": "", "STRATEGY": "", "MINUTES": "12",
        "TARGET": "", "SCENARIO": "",
        "GATE": str(folder / "gate"), "RESULTS": str(folder / "results"), "GITHUB_WORKSPACE": str(folder / "work"),
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
    }  # fmt: skip
    assert step["env"].keys() <= given.keys()
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step["run"]], env=given | env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("verdict", "code"), VERDICTS.items())
def test_a_verdict_becomes_its_exit_code(verdict: str, code: int) -> None:
    told = {"VERDICT": verdict, "EXIT_CODE": str(code), "MEASURED": "true", "HEAD_ONLY": "false"}
    assert gate(**told, **FAIL) == code
    assert gate(**told, **WARN) == (0 if verdict in ("inconclusive", "invalid") else code)
    assert gate(**told, **(WARN | {"INVALID": "fail"})) == (0 if verdict == "inconclusive" else code)
    assert gate(**told, **(WARN | {"INCONCLUSIVE": "fail"})) == (0 if verdict == "invalid" else code)


def test_a_measurement_that_head_alone_made_invalid_fails() -> None:
    given = {"VERDICT": "invalid", "EXIT_CODE": "2", "MEASURED": "true", **WARN}
    assert gate(**given, HEAD_ONLY="true") == 2
    assert gate(**given, HEAD_ONLY="false") == 0


def test_a_target_is_a_file_of_the_callers_repository(tmp_path: Path) -> None:
    (tmp_path / "work" / "my chat").mkdir(parents=True)
    done = measure(tmp_path, FOLDER="my chat", TARGET="ci/stop.toml/cancel", SCENARIO="steady")
    target = tmp_path / "work" / "my chat" / "ci/stop.toml/cancel"
    assert done.stdout.splitlines()[-1].endswith(f"<--target><{target}><--scenario><steady>")


def test_what_was_never_measured_fails_whatever_is_allowed() -> None:
    assert gate(VERDICT="", EXIT_CODE="", MEASURED="", **WARN) == 2
    assert gate(VERDICT="invalid", EXIT_CODE="2", MEASURED="false", **WARN) == 2
    assert gate(VERDICT="invalid", EXIT_CODE="4", MEASURED="false", **WARN) == 4


def test_the_stopwatch_is_the_actions_and_the_service_the_callers(tmp_path: Path) -> None:
    (tmp_path / "work" / "my chat").mkdir(parents=True)
    done = measure(tmp_path, FOLDER="my chat", BASE="a'b;c", STRATEGY="redis-push", REQUIREMENTS="more.txt")
    assert done.returncode == 0, done.stderr
    setup, pip, bench = (line for line in done.stdout.splitlines() if line.startswith("<"))
    assert done.stdout.count(f" in {tmp_path / 'gate'}:") == 3
    assert setup == "<setup>"
    assert f"<--requirement><{tmp_path / 'work' / 'my chat'}/more.txt>" in pip
    service = tmp_path / "work" / "my chat"
    assert f"<bench><regress><--repository><{service}><--base><a'b;c><--or-parent>" in bench
    assert bench.endswith(f"<--results><{tmp_path / 'results'}><--strategy><redis-push>")


def test_nothing_but_the_base_is_needed(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    done = measure(tmp_path)
    assert "<pip>" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"<--results><{tmp_path / 'results'}>")
    assert all("default" in each for each in read("action.yml")["inputs"].values())


def test_jobs_of_a_matrix_can_name_their_artifacts_apart() -> None:
    action = read("action.yml")
    (step,) = [step for step in action["runs"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert step["with"]["name"] == "${{ inputs.artifact-name }}"
    assert action["inputs"]["artifact-name"]["default"] == "stopwatch-chat-gate"


def test_a_push_to_the_default_branch_is_compared_with_the_commit_before(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert "<--base><origin/main><--or-parent>" in measure(tmp_path).stdout
    assert read(".github/workflows/bench.yml")[True] == {"pull_request": None, "push": {"branches": ["main"]}}


def test_a_set_up_that_fails_is_no_missing_verdict(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert measure(tmp_path, GATE=str(tmp_path / "gone")).returncode != 0


def test_the_whole_history_is_fetched() -> None:
    steps = read(".github/workflows/bench.yml")["jobs"]["gate"]["steps"]
    assert steps[0]["with"]["fetch-depth"] == 0
    assert steps[1] == {"uses": "./"}


def test_actions_are_pinned_by_tag() -> None:
    used = re.findall(
        r"uses: (\S+)", (ROOT / "action.yml").read_text() + (ROOT / ".github/workflows/bench.yml").read_text()
    )
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", each) for each in used if each.startswith("actions/"))
    assert sum(each.startswith("actions/") for each in used) >= 3
