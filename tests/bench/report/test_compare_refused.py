"""Runs that cannot be compared, or only in part: one line that says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.analysis.reading import read_run
from bench.cli.show import compare as command
from bench.record.manifest import Manifest, ScenarioSettings
from bench.record.reader import UnreadableResults
from bench.record.schema import CaseRow
from bench.report.compare import (
    compare,
    differences,
    shared,
)

Row = dict[str, Any]


def _other_pace(head: Manifest, _cases: list[CaseRow]) -> None:
    head.scenarios["flowing"].itl_ms = 10.0


def _other_scenario(head: Manifest, _cases: list[CaseRow]) -> None:
    head.scenarios["stalled"] = ScenarioSettings(itl_ms=20.0)


def _open_loop(head: Manifest, _cases: list[CaseRow]) -> None:
    head.scenarios["steady"].rate_per_s = 50.0


def _other_workers(head: Manifest, _cases: list[CaseRow]) -> None:
    head.settings["workers"] = 4


def _quick(head: Manifest, _cases: list[CaseRow]) -> None:
    head.quick = True


def _other_strategy(_head: Manifest, cases: list[CaseRow]) -> None:
    for row in cases:
        row.strategy = "redis-poll" if row.strategy == "redis-push" else row.strategy


def _hole(_head: Manifest, cases: list[CaseRow]) -> None:
    cases[:] = [row for row in cases if (row.strategy, row.scenario) != ("none", "steady")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_pace, ["scenarios.flowing.itl_ms is 20.0 in A, 10.0 in B"]),
        (_other_scenario, ["scenarios.stalled is in B only"]),
        (_open_loop, ["scenarios.steady.rate_per_s is None in A, 50.0 in B"]),
        (_other_workers, ["settings.workers is 2 in A, 4 in B"]),
        (_quick, ["quick is None in A, True in B"]),
        (_other_strategy, ["strategy redis-poll is in B only", "strategy redis-push is in A only"]),
        (_hole, ["case none in steady with 2 workers and 50 streams is in A only"]),
    ],
)
def test_unlike_runs_are_told_by_key(
    pair: tuple[Path, Path], change: Callable[[Manifest, list[CaseRow]], None], words: list[str]
) -> None:
    a, b = read_run(pair[0]), read_run(pair[0])
    assert (differences(a, b), shared(a, b)[1]) == ([], [])
    change(b.manifest, b.cases)
    assert differences(a, b) + shared(a, b)[1] == words


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ({"ABORT_INTERVAL_MS": "50"}, {}, ["environment.ABORT_INTERVAL_MS is 50 in A, None in B"]),
        ({"ABORT_TTL_S": "9"}, {"ABORT_TTL_S": "9"}, []),
        (None, {"ABORT_INTERVAL_MS": "50"}, []),  # an old record does not say
    ],
)
def test_services_that_were_set_differently_are_unlike(
    pair: tuple[Path, Path], a: Row | None, b: Row | None, words: list[str]
) -> None:
    runs = read_run(pair[0]), read_run(pair[0])
    for run, service in zip(runs, (a, b), strict=True):
        if service is not None:
            run.manifest.environment = service
    assert differences(*runs) == words


def test_the_command_refuses_in_one_line_with_exit_code_4(pair: tuple[Path, Path], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    manifest = json.loads((pair[0] / "manifest.json").read_text())
    copied = shutil.copytree(pair[0], tmp_path / "copied")
    other = tmp_path / "other"
    other.mkdir()
    for path in pair[0].iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    for name in ("flowing", "steady"):
        manifest["scenarios"][name]["itl_ms"] = 10.0
    (other / "manifest.json").write_text(json.dumps(manifest))
    out = tmp_path / "out"
    for folders, words in (
        ((pair[0], other), "did not measure the same: scenarios.flowing.itl_ms is 20.0 in A, 10.0 in B"),
        ((pair[0], tmp_path / "absent"), "is no folder"),
        ((pair[0], pair[0]), "A and B are the same run"),
        ((pair[0], copied), "A and B are the same run"),
        ((), "compare needs two runs: make compare A=results/... B=results/..."),
    ):
        result = CliRunner().invoke(app, [*map(str, folders), "--results", str(out)])
        assert result.exit_code == 4
        assert result.stderr.startswith("bench: ")
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    assert not out.exists()


def test_another_schema_or_an_unwritable_place_is_an_error_of_one_line(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnreadableResults, match="cannot be written"):
        compare(*pair, tmp_path / "file")
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"schema": 9}')
    with pytest.raises(UnreadableResults, match="has schema 9"):
        compare(pair[0], other, tmp_path / "out")


def test_a_scenario_with_other_settings_is_left_out(pair: tuple[Path, Path]) -> None:
    a, b = read_run(pair[0]), read_run(pair[0])
    _other_pace(b.manifest, b.cases)
    both, _rest = shared(a, b)
    assert {key.scenario for key in both} == {"steady"}
