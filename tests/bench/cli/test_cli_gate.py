"""The gate's commands as a person meets them: one line for each mistake, the right exit code, the files left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench.cli import gate as cli_gate
from bench.cli import show
from tests.bench.fake_gate import write_history, write_run

app = typer.Typer(pretty_exceptions_enable=False)
for command in (cli_gate.baseline, cli_gate.check, show.history):
    app.command()(command)
STOPS = {"redis-push": 2.0}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty project folder, and no CI around it."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    write_run(Path("results/base"), stop_ms=STOPS)


def bench(*arguments: str) -> tuple[int, str, list[str]]:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    return done.exit_code, done.stdout, done.stderr.splitlines()


def test_keep_a_baseline_and_check_runs_with_it() -> None:
    code, said, _ = bench("baseline", "results/base")
    assert (code, json.loads(Path("results/baseline.json").read_text())["run"]) == (0, "base")
    assert "default margins" in said
    again = write_run(Path("results/again"), stop_ms=STOPS, seed=2)
    code, said, _ = bench("check", str(again))
    assert code == 0
    assert "verdict: equivalent" in said
    assert "default margins" in said
    slow = write_run(Path("results/slow"), stop_ms={"redis-push": 7.0})
    code, said, _ = bench("check", str(slow))
    assert code == 1
    assert "verdict: worse" in said
    assert json.loads((slow / "verdict.json").read_text())["exit_code"] == 1


def test_the_newest_run_is_the_default() -> None:
    Path("results/latest").symlink_to("base")
    assert bench("baseline")[0] == bench("check")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["check", "results/base"], "results/baseline.json does not exist", 4),
        (["baseline", "results/gone"], "results/gone is no folder", 4),
        (["baseline", "results/quick"], "QUICK", 4),
        (["baseline", "results/invalid"], "not valid", 2),
        (["baseline", "results/base", "--baseline", "no/such/place.json"], "choose another with --baseline", 4),
        (
            ["baseline", "results/base", "--noise", "results/base/cases.jsonl"],
            "run `.venv/bin/python -m bench aa` again",
            4,
        ),
        (["history", "--metric", "speed"], "name.statistic", 4),
        (["history", "--results", "nowhere"], "no run to show", 4),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str, code: int) -> None:
    write_run(Path("results/quick"), stop_ms=STOPS, manifest={"quick": True})
    write_run(Path("results/invalid"), stop_ms=STOPS, summary={"valid": False, "problems": ["overloaded"]})
    found, _, errors = bench(*arguments)
    assert (found, len(errors)) == (code, 1)
    assert words in errors[0]


def test_a_damaged_run_is_one_line() -> None:
    Path("results/base/summary.json").write_text("{")
    code, _, errors = bench("baseline", "results/base")
    assert (code, len(errors)) == (4, 1)
    assert "make report RUN_DIR=results/base" in errors[0]


def test_a_run_that_cannot_be_judged_is_invalid_in_its_verdict() -> None:
    bench("baseline", "results/base")
    folder = write_run(Path("results/busy"), stop_ms=STOPS, summary={"valid": False, "problems": ["overloaded"]})
    assert bench("check", str(folder))[0] == 2
    kept = json.loads((folder / "verdict.json").read_text())
    assert (kept["verdict"], kept["exit_code"], kept["rules"]) == ("invalid", 2, [])
    assert "overloaded" in kept["sentence"]
    assert bench("check", "results")[0] == 4
    assert not Path("results/verdict.json").exists()  # no results folder, so not ours to write into


def test_history_draws_and_counts_what_it_left_out() -> None:
    write_history(Path("past"), [2.0, 2.05, 1.95, 2.02, 2.01, 2.6, 2.65, 2.55, 2.62, 2.61])
    write_history(Path("past"), [2.0], first=11, quick=True)
    code, said, errors = bench("history", "--results", "past")
    assert (code, errors) == (0, [])
    assert "2.61" in said
    assert "2.48 to 2.74" in said
    assert "runs shown: 10; left out: 1 QUICK" in said
    assert all(Path(f"past/charts/history-upstream_stop_ms-p50.{kind}").exists() for kind in ("png", "svg"))
