"""`bench load`: what it refuses, and that the master is a run with LOAD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cli import run as run_command
from bench.run.settings import Settings
from tests.bench.command import Bench


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs either --master or --worker"),
        (["--master", "--worker"], "needs either --master or --worker"),
        (["--worker"], "needs --master-host"),
        (["--worker", "--master-host", "10.0.0.1", "--quick"], "does not know --quick"),
        (["--master", "--colour"], "--colour"),
        (["--master", "--processes", "4"], 'bench run --load "--processes 4"'),
        (["--master", "--expect-workers", "0"], "--expect-workers"),
    ],
)
def test_what_cannot_be_meant_is_one_line(bench: Bench, arguments: list[str], words: str) -> None:
    done = bench("load", *arguments)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_the_master_is_a_run_with_its_options(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Settings, list[str]]] = []

    def measure(cases: Any, settings: Settings, results: Path, **_: Any) -> Path:
        asked.append((settings, [case.strategy for case in cases]))
        return results

    monkeypatch.setattr(run_command, "_measure", measure)
    monkeypatch.setattr(run_command, "_report", lambda *_: None)
    monkeypatch.setenv("BENCH_LOCK", str(tmp_path / "lock"))
    options = ["--host", "10.0.0.1", "--strategy", "redis-push", "--quick", "--results", str(tmp_path)]
    done = bench("load", "--master", "--expect-workers", "3", "--master-port", "6000", *options)
    assert done.returncode == 0, done.stderr
    ((settings, strategies),) = asked
    assert (settings.load, settings.host) == ("--master --expect-workers 3 --master-port 6000", "10.0.0.1")
    assert (settings.quick, strategies[0]) == (True, "redis-push")
