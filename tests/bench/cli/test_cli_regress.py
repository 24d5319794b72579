"""`regress` when there is nothing to judge: the reason stands where people and machines look for a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli import gate as cli_gate
from bench.cli.options import GATED, GATED_IN
from bench.gate.commits import ROOT, Comparison
from bench.gate.margins import DEFAULTS
from bench.gate.regress import METRICS, Gate
from bench.gate.rules import promises_delivery
from bench.system.embedded import StoreError
from bench.system.git import GitError
from bench.system.procs import ChildError
from bench.workload.plan import select


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setattr("bench.gate.commits.choose_base", lambda ref, _repository, **_: compared(ref))
    return tmp_path / "outputs"


def compared(ref: str) -> Comparison:
    return Comparison(ref, "0123abc", "0123abc", "4567def", ahead=1, behind=0, note="")


def bench(tmp_path: Path, *arguments: str) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(cli_gate.regress)
    return CliRunner().invoke(app, [*arguments, "--results", str(tmp_path / "results")])


def raising(error: BaseException) -> Callable[..., None]:
    def run(*_: object, **__: object) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [(ChildError("server died"), 2), (StoreError("redis is away"), 2), (GitError("no server/"), 2),
     (KeyboardInterrupt(), 130)],
)  # fmt: skip
def test_what_broke_off_leaves_an_invalid_verdict(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(Gate, "run", raising(error))
    done = bench(tmp_path)
    assert done.exit_code == code
    (file,) = (tmp_path / "results").glob("*-regress-head/verdict.json")
    kept = json.loads(file.read_text())
    assert (kept["verdict"], kept["exit_code"]) == ("invalid", code)
    assert str(error) in kept["sentence"]
    assert f"exit-code={code}\nmeasured=false\n" in outputs.read_text()
    assert str(error) in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"), [(["--strategy", "redis-pull"], "redis-push"), (["--noise", __file__], "cannot be read")]
)
def test_bad_usage_is_reported_on_github_too(tmp_path: Path, outputs: Path, arguments: list[str], says: str) -> None:
    done = bench(tmp_path, *arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    assert says in (tmp_path / "summary.md").read_text()
    assert outputs.read_text() == "verdict=invalid\nexit-code=4\nmeasured=false\n"
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
@pytest.mark.parametrize(
    ("arguments", "env", "says"),
    [
        (["--base", "no-such-ref"], {}, "no-such-ref"),
        (["--base", "--upload-pack=x"], {}, "BASE"),
        (["--base", "HEAD"], {}, "is HEAD itself"),
        (["--strategy", "redis-pull"], {}, "redis-push"),
        (["--scenario", "gone"], {}, "flowing"),
        ([], {"QUICK": "1"}, "QUICK"),
    ],
)
def test_bad_usage_is_one_line_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], env: dict[str, str], says: str
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    done = bench(tmp_path, *arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    assert says in done.stderr
    assert not (tmp_path / "results").exists()


def test_what_is_measured_by_default_promises_what_the_rules_ask() -> None:
    """`memory` on several workers loses aborts by design: no number of blocks would decide about those."""
    cases = select(scenarios=GATED_IN.split(","), strategies=GATED.split(","))
    assert all(promises_delivery(case.strategy, case.workers) for case in cases)
    assert {"redis-push", "postgres-push", "disconnect"} == {case.strategy for case in cases}


def test_every_metric_that_is_judged_has_a_margin() -> None:
    assert set(METRICS) <= set(DEFAULTS)


@pytest.mark.parametrize(("arguments", "shared"), [([], True), (["--scenario", "steady"], False), (["--turns"], False)])
def test_the_sides_share_loads_if_a_scenario_can_be_shared(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], shared: bool
) -> None:
    made: list[bool] = []

    def gate(*_: object, turns: bool, **__: object) -> None:
        made.append(not turns)
        raise StoreError("far enough")

    monkeypatch.setattr("bench.gate.regress.Gate", gate)
    assert bench(tmp_path, *arguments).exit_code == 2
    assert made == [shared]
    assert outputs.exists()
