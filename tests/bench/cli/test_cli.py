"""The command line: one line for each mistake, and the right exit code."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bench.__main__ import app
from bench.cli.experiments import _strategies
from bench.cli.terminal import by_cause
from bench.experiments.serve import strategy_of
from bench.workload.plan import STRATEGIES, select
from tests.bench.command import Bench


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--backend", "mysql"], ["BACKEND", "mysql", "all, memory, postgres, redis"]),
        (["--scenario", "flowing,gone"], ["SCENARIO", "gone", "flowing, stalled, steady"]),
        (["--scenario", ""], ["SCENARIO", "flowing, stalled, steady"]),
        (["--workers", "0"], ["WORKERS", "1 to 64"]),
        (["--workers", "many"], ["WORKERS", "many", "1 to 64"]),
        (["--seed", "x"], ["--seed"]),
        (["--interval", "10"], ["--interval", "'10'", "such as 10%"]),
        (["--interval", "10%", "--quick"], ["--interval", "--quick"]),
        (["--interval", "10%", "--blocks", "3"], ["--interval", "--blocks"]),
        (["--load", "four"], ["LOAD", "four", "--processes N", "--master --expect-workers N"]),
        (["--colour"], ["--colour"]),
    ],
)
def test_bad_values_name_the_choices(bench: Bench, tmp_path: Path, arguments: list[str], names: list[str]) -> None:
    done = bench("run", "--results", str(tmp_path / "results"), *arguments)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert all(name in done.stderr for name in names)
    assert not (tmp_path / "results").exists()


def test_a_results_place_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bench("run", "--results", str(tmp_path / "file"))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "--results" in done.stderr


@pytest.mark.parametrize("folder", ["nothing", "file", "empty"])
def test_a_folder_without_results(bench: Bench, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    done = bench("report", str(tmp_path / folder))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert folder in done.stderr


@pytest.mark.parametrize(("variable", "kind"), [("REDIS_URL", "redis"), ("DATABASE_URL", "postgres")])
def test_a_dead_store_could_not_be_measured(bench: Bench, tmp_path: Path, variable: str, kind: str) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        url = f"{kind}://me:secret@127.0.0.1:{nobody_listens.getsockname()[1]}/0"
        done = bench("run", "--backend", kind, "--results", str(tmp_path), **{variable: url})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert variable in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was measured, so nothing is kept


def test_the_catalogue_is_listed(bench: Bench) -> None:
    done = bench("scenarios")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("flowing", "stalled", "first-token", "steady"))


@pytest.mark.parametrize("command", [[], *([name] for name in sorted(get_command(app).commands))])  # type: ignore[attr-defined]
def test_help_is_whole_at_80_columns(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    assert "Usage" in done.stdout
    assert "\u2026" not in done.stdout, "nothing is cut off"


@pytest.mark.parametrize(
    ("given", "words"),
    [("nope", ["No such command 'nope'.", "aa, ", "strategies"]), ("regres", ["Did you mean", "'regress'"])],
)
def test_an_unknown_command_names_near_ones_or_all(bench: Bench, given: str, words: list[str]) -> None:
    done = bench(given)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words)


def test_a_python_without_the_packages_names_the_one_to_use() -> None:
    for module in ("bench", "mock_llm"):
        done = subprocess.run(
            [sys.executable, "-S", "-m", module, "--help"], capture_output=True, text=True, check=False, env={}
        )
        assert done.returncode == 4
        assert len(done.stderr.splitlines()) == 1
        assert (
            f"has no typer: use {'make, or ' if module == 'bench' else ''}.venv/bin/python -m {module}" in done.stderr
        )


def test_the_strategies_are_listed(bench: Bench) -> None:
    done = bench("strategies")
    assert done.returncode == 0
    assert set(STRATEGIES) <= set(done.stdout.split())


@pytest.mark.parametrize("command", [["run", "--backend", "all"], ["regress"], ["aa"], ["prove"]])
def test_another_ones_store_is_not_crashed(bench: Bench, tmp_path: Path, command: list[str]) -> None:
    arguments = [*command, "--scenario", "flowing,outage", "--results", str(tmp_path / "results")]
    done = bench(*arguments, REDIS_URL="redis://:secret@127.0.0.1:1/0")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "outage crashes redis" in done.stderr
    assert "unset REDIS_URL, or measure the others: SCENARIO=flowing" in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_strategy_can_be_the_backend(bench: Bench, tmp_path: Path) -> None:
    assert {case.strategy for case in select("redis-push", ["steady"])} == {"none", "disconnect", "redis-push"}
    assert {case.strategy for case in select("disconnect", ["steady"])} == {"none", "disconnect"}
    assert _strategies("redis-push") == ["redis-push"]
    assert strategy_of("all") == strategy_of("redis") == "redis-push"
    done = bench("backends", "--backend", "redis-poll", "--results", str(tmp_path))
    assert done.returncode == 4
    assert "redis-poll" in done.stderr
    assert "all, postgres, redis, postgres-push, redis-push" in done.stderr


def test_problems_with_one_cause_are_one_line() -> None:
    problems = [
        "redis-push in flowing: the load used 95% of a core (allowed is 85%): stop other work",
        "redis-push in stalled: the load used 91% of a core (allowed is 85%): stop other work",
        "none in flowing: the load used 99% of a core (allowed is 85%): stop other work",
        "none in flowing: 3 of 100 planned chats left no row",
        "the run was interrupted",
    ]
    assert by_cause(problems) == [
        f"{problems[0]} (and in 2 more: redis-push in stalled, none in flowing)",
        *problems[3:],
    ]
