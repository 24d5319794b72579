"""`python -m bench prove` with a gate that is made up: its table, its record, its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from bench.cli import prove as cli_prove
from bench.experiments.prove import counter
from bench.experiments.prove import proof as prove
from bench.experiments.prove.proof import BASE, Proof
from bench.experiments.prove.record import PARTS, Entry, promises_table
from bench.record.manifest import Host
from tests.bench.experiments.prove_entries import good, seen


def run_prove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Callable[[str, int], Entry], *arguments: str
) -> tuple[Any, dict[str, Any]]:
    """The command with a gate that is made up; what it printed, and its prove.json."""
    monkeypatch.setattr(prove, "make_commits", lambda _clone, _parts: dict.fromkeys((BASE, *PARTS), "0123abc"))
    monkeypatch.setattr(prove, "git", lambda *_arguments: "")
    monkeypatch.setattr(counter, "FILE", tmp_path / "counter.json")  # not the committed one
    monkeypatch.setattr(prove, "describe_host", lambda: Host(cpus=0))
    monkeypatch.setattr(Proof, "_gate", lambda _self, _clone, part, number, *_rest: gate(part, number))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(cli_prove.prove)
    done = CliRunner().invoke(app, [*arguments, "--results", str(tmp_path)], env={"COLUMNS": "140"})
    (folder,) = tmp_path.glob("*-prove")
    return done, json.loads((folder / "prove.json").read_text())


def test_the_table_fits_into_80_columns() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(promises_table([good(part, 1) for part in PARTS]))
    assert "…" not in capture.get()
    assert "delay" in capture.get()


def test_a_proof_that_keeps_every_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, record = run_prove(tmp_path, monkeypatch, good, "--aa", "2", "--faults", "1")
    assert done.exit_code == 0, done.output
    assert (record["complete"], len(record["runs"]), record["commit"]) == (True, 14, "0123abc")
    assert all(each["kept"] for each in record["promises"])
    assert record["runs"][1]["rules"][0]["metric"] == "abort_ack_ms"
    assert "14 gate runs, about" in done.stdout


def test_a_broken_promise_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gate(part: str, number: int) -> Entry:
        return seen(part, "equivalent", number)

    done, record = run_prove(tmp_path, monkeypatch, gate, "--faults", "1", "--aa", "1", "--only", "drop,docs")
    assert done.exit_code == 1
    assert done.stderr == "bench: broken: drops 1 % of aborts: always found\n"
    assert [each["kept"] for each in record["promises"]] == [False, True]


def test_a_promise_that_was_not_shown_is_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = run_prove(tmp_path, monkeypatch, lambda part, number: seen(part, "invalid", number), "--only", "aa,docs")
    assert done.exit_code == 2
    assert "not shown, too few valid runs: head against itself: at most 1 worse" in done.stderr


def test_an_interrupted_proof_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gate(part: str, number: int) -> Entry:
        if part == "drop":
            raise KeyboardInterrupt
        return good(part, number)

    done, record = run_prove(tmp_path, monkeypatch, gate, "--faults", "1", "--aa", "1")
    assert done.exit_code == 130
    assert (record["complete"], [each["part"] for each in record["runs"]]) == (False, ["aa", "delay", "poll"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--only", "sleep"],
            f"choose from {', '.join(PARTS)}",
        ),
        (["--only", "leak", "--strategy", "redis-push"], "leak leaks the upstream on disconnect"),
        (["--only", "drop", "--strategy", "disconnect"], "only with a strategy that is *-push"),
        (["--only", "ask", "--scenario", "flowing"], "only in the scenario steady"),
        (["--strategy", "redis-pull"], "redis-push"),
    ],
)
def test_what_cannot_be_proven_is_bad_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(cli_prove.prove)
    done = CliRunner().invoke(app, [*arguments, "--results", str(tmp_path / "results")])
    assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
    assert not (tmp_path / "results").exists()
    assert message in done.stderr
