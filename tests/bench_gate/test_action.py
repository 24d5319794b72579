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


def gate(**env: str) -> int:
    step = read("action.yml")["runs"]["steps"][-1]
    return subprocess.run(["bash", "-e", "-c", step["run"]], env=env, capture_output=True, check=False).returncode


@pytest.mark.parametrize(("verdict", "code"), VERDICTS.items())
def test_a_verdict_becomes_its_exit_code(verdict: str, code: int) -> None:
    assert gate(VERDICT=verdict, EXIT_CODE=str(code), INCONCLUSIVE="fail") == code
    expected = 0 if verdict == "inconclusive" else code
    assert gate(VERDICT=verdict, EXIT_CODE=str(code), INCONCLUSIVE="warn") == expected


def test_no_verdict_is_a_failure() -> None:
    assert gate(VERDICT="", EXIT_CODE="", INCONCLUSIVE="warn") == 2


def test_the_whole_history_is_fetched_and_the_base_handed_over() -> None:
    steps = read(".github/workflows/bench.yml")["jobs"]["gate"]["steps"]
    assert steps[0]["with"]["fetch-depth"] == 0
    assert steps[1] == {"uses": "./", "with": {"base": "origin/${{ github.base_ref }}"}}
    measure = next(step for step in read("action.yml")["runs"]["steps"] if step.get("id") == "measure")
    assert measure["env"] == {"BASE": "${{ inputs.base }}"}
    assert "${{" not in measure["run"]  # a ref's name is data: it reaches the shell as a variable


def test_actions_are_pinned_by_tag() -> None:
    used = re.findall(
        r"uses: (\S+)", (ROOT / "action.yml").read_text() + (ROOT / ".github/workflows/bench.yml").read_text()
    )
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", each) for each in used if each.startswith("actions/"))
    assert sum(each.startswith("actions/") for each in used) >= 3
