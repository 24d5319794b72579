"""The gate on a repository that is not ours: the steps of action.yml, on a service with a planted regression."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.foreign_repository import git, repository, run_action

pytestmark = pytest.mark.timeout(180)


def test_a_head_that_loses_stops_makes_the_job_red(tmp_path: Path) -> None:
    """As on a push to `main`: the base is the commit before, and one block is enough for a broken rule."""
    top = repository(tmp_path, "lost")
    done = run_action(top, tmp_path, base="main", target="stop.toml", scenario="flowing", minutes="0.1")
    assert done.outputs["verdict"] == "worse", done.text
    assert done.code == 1
    (file,) = done.results.glob("*-regress-head/verdict.json")
    verdict = json.loads(file.read_text())
    assert "missed" in {each["rule"] for each in verdict["rules"]}
    assert "HEAD is compared with its first parent" in done.text
    commits = git(top, "rev-parse", "main~1", "main").split()
    assert [verdict[side]["commit"] for side in ("base", "head")] == commits
    assert [Path(verdict[side]["module"]).name for side in ("base", "head")] == ["base", "head"]
    for side, commit in zip(("base", "head"), commits, strict=True):
        assert f"{side} ran {verdict[side]['module']} of {commit[:7]}" in " ".join(verdict["notes"])
    assert git(top, "worktree", "list").count("\n") == 0
    assert len(list((tmp_path / "action" / ".targets").glob("setup-*"))) == 1  # the lock files are the same
