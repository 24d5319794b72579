"""Base and head of a service that is not ours: which files can be gated, and what is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli import gate as cli_gate
from bench.gate.commits import worktrees
from bench.gate.target_sides import SCENARIOS, cases_of_target, folder_of_target, set_up
from bench.workload.plan import contender_of
from tests.bench.foreign_repository import SERVICE, git, repository

TARGET = SERVICE / "stop.toml"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return repository(tmp_path, "none")


def regress(top: Path, *arguments: str) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(cli_gate.regress)
    return CliRunner().invoke(app, ["--base", "main~1", "--results", str(top.parent / "results"), *arguments])


def refused(top: Path, *arguments: str) -> str:
    """The line of a command that is refused before anything is measured."""
    done = regress(top, *arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1), done.output
    assert not (top.parent / "results").exists()
    return str(done.stderr)


def test_each_stop_is_measured_in_the_scenarios_for_products() -> None:
    cases = cases_of_target(str(TARGET), SCENARIOS.split(","))
    assert [(case.strategy, case.workers) for case in cases] == [("small-chat/cancel", 1)] * 3
    assert [case.scenario.name for case in cases] == SCENARIOS.split(",")


def test_a_target_without_a_process_is_refused(top: Path) -> None:
    text = TARGET.read_text()
    (top / "other.toml").write_text(text[: text.index("[process]")] + text[text.index("[start]") :])
    assert "has no [process], so base and head cannot be started" in refused(top, "--target", str(top / "other.toml"))


def test_stops_that_are_documented_not_to_work_are_left_out(top: Path) -> None:
    stop = 'request = "POST /stop/{{ids.run}}"\n'
    never = TARGET.read_text().replace(stop, f'{stop}expect = "never"\n')
    (top / "other.toml").write_text(never)
    assert "nothing to judge" in refused(top, "--target", str(top / "other.toml"))
    (top / "other.toml").write_text(never + '[stop.hangup]\nkind = "hangup"\n')
    (case,) = cases_of_target(str(top / "other.toml"), ["steady"])
    assert contender_of(case).way == "hangup"


def test_a_file_outside_of_the_repository_is_refused(top: Path, tmp_path: Path) -> None:
    outside = tmp_path / "stop.toml"
    outside.write_text(TARGET.read_text())
    text = refused(top, "--target", str(outside), "--repository", str(top))
    assert f"{outside} is outside of the repository {top}" in text
    assert "is in no git repository" in refused(top, "--target", str(outside))


def test_uncommitted_changes_are_refused_but_those_of_the_target_file(top: Path) -> None:
    (top / "stop.toml").write_text(TARGET.read_text() + "# another way to measure\n")
    assert folder_of_target(top / "stop.toml", None) == top
    (top / "app.py").write_text("changed")
    text = refused(top, "--target", str(top / "stop.toml"))
    assert "uncommitted changes (app.py)" in text


@pytest.mark.parametrize("option", [("--strategy", "redis-push"), ("--env", "A=1")])
def test_what_the_target_file_names_cannot_be_given_beside_it(top: Path, option: tuple[str, str]) -> None:
    assert "leave out --strategy and --env" in refused(top, "--target", str(top / "stop.toml"), *option)


def test_a_name_is_no_file(top: Path) -> None:
    assert "give a target file ending in .toml" in refused(top, "--target", "litellm")


def test_a_folder_that_base_does_not_have_is_made(top: Path) -> None:
    """The target file is new in head, with its folder: both sides are started by it."""
    (top / "ci").mkdir()
    (top / "ci" / "stop.toml").write_text(TARGET.read_text())
    folder = folder_of_target(top / "ci" / "stop.toml", top)
    with worktrees("main~1", repository=folder, service="") as folders:
        assert [each.name for each in folders] == ["ci", "ci"]
        assert all((each / ".." / "app.py").is_file() for each in folders)


def test_lock_files_that_differ_are_a_doubt_without_a_set_up(top: Path, tmp_path: Path) -> None:
    (top / "requirements.txt").write_text("openai==3.55.0\n")
    git(top, "commit", "--quiet", "--all", "--message", "newer")
    case = cases_of_target(str(TARGET), ["steady"])[0]
    process = contender_of(case).target.process
    assert process is not None
    bare = contender_of(case).target.model_copy(update={"process": process.model_copy(update={"setup": None})})
    contender = type(contender_of(case))(bare, "cancel", None, TARGET)
    with worktrees("main~1", repository=top, service="") as folders:
        assert "the lock files differ" in set_up(contender, folders, tmp_path)[0]
    with worktrees("main~2", "main~1", repository=top, service="") as folders:
        assert set_up(contender, folders, tmp_path) == []
