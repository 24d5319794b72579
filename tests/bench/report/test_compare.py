"""Two runs side by side: unlike ones are refused by the key that differs, alike ones are shown and left alone."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.analysis.reading import read_run
from bench.cli.show import compare as command
from bench.record.base import read_file
from bench.record.manifest import Manifest, ScenarioSettings
from bench.record.schema import CaseRow
from bench.record.summary import Summary
from bench.report.charts import canvas
from bench.report.compare import (
    UnlikeRuns,
    UnreadableResults,
    changes_text,
    compare,
    differences,
    pairs_of,
    shared,
)
from tests.bench import fake_blocks
from tests.bench.report.conftest import FEW, leave_out

Row = dict[str, Any]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_both_runs_are_on_the_page_and_unchanged(pair: tuple[Path, Path], compared: Path) -> None:
    html = compared.read_text()
    assert compared.parent.name == "compare-before-after"
    assert "A: before" in html
    assert "B: after" in html
    assert {path.name for path in pair[0].iterdir()} == {"manifest.json", "cases.jsonl", "chats.jsonl.gz"}
    for side in ("a", "b"):
        assert (compared.parent / side / "summary.json").is_file()
        assert (compared.parent / side / "charts" / "stop-ecdf.png").is_file()
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (compared.parent / "report.md").read_text())
    assert len(pictures) > 10
    assert all((compared.parent / picture).is_file() for picture in pictures)


def test_what_changed_is_said_and_what_did_not_is_not(compared: Path) -> None:
    text = (compared.parent / "report.md").read_text()
    assert "the largest difference in redis-push in flowing (2 w)" in text
    assert re.search(r"Aborts missed differ: redis-push in flowing \(2 w\) 0 of 100 in A, \d+ of 100 in B\.", text)
    assert re.search(r"^\| commit \| differs \| 0123abc \| fedcba9 \|", text, re.MULTILINE)
    assert re.search(r"^\| seed \| same \| 1 \| 1 \|", text, re.MULTILINE)
    assert re.search(
        r"^\| redis-timer, flowing \(2 w\) .*\| 1\.00 \| overlap \| 0 of 100, 0 of 100", text, re.MULTILINE
    )
    assert "make regress gives a verdict" in text


def test_equal_runs_have_nothing_apart(compared: Path) -> None:
    summary = read_file(compared.parent / "a" / "summary.json", Summary)
    assert changes_text(pairs_of(summary, summary)) == (
        "0 of 2 median stops have 95 % intervals that do not overlap. Both runs missed the same number of aborts."
    )


def test_a_second_comparison_leaves_the_first_alone(
    pair: tuple[Path, Path], compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(compared.parent)
    save, own = canvas.save, ("compare-stops", "compare-cpu")
    monkeypatch.setattr(canvas, "save", lambda drawing, stem: (save if stem.name in own else leave_out)(drawing, stem))
    again = compare(*pair, compared.parent.parent)
    assert again.parent.name == "compare-before-after-2"
    assert digests(compared.parent) == before
    assert (again.parent / "charts" / "compare-stops.svg").read_bytes() == (
        compared.parent / "charts" / "compare-stops.svg"
    ).read_bytes()


@pytest.mark.usefixtures("no_pictures")
def test_the_link_to_the_newest_run_is_called_by_its_own_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(pair[1])
    assert compare(pair[0], tmp_path / "latest", tmp_path / "out").parent.name == "compare-before-after"


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


def test_many_differences_are_not_all_listed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = fake_blocks.write(
        tmp_path / "other", strategies=["postgres-poll"], scenarios=["slow", "fast"], blocks=1, chats=2
    )
    with pytest.raises(UnlikeRuns, match=r"and \d+ more$"):
        compare(pair[0], other, tmp_path / "out")


@pytest.mark.usefixtures("no_pictures")
def test_what_is_common_is_compared_and_the_rest_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    changes: Row = {"strategies": ["redis-push", "redis-poll", "none"], "scenarios": ["flowing", "outage"]}
    other = fake_blocks.write(tmp_path / "other", **(FEW | changes))
    rest: list[str] = []
    page = compare(pair[0], other, tmp_path / "out", rest.append)
    assert rest == [
        "scenarios.steady is in A only",
        "scenarios.outage is in B only",
        "strategy redis-poll is in B only",
        "strategy redis-timer is in A only",
    ]
    text = (page.parent / "report.md").read_text()
    table = text[text.index("Stops of both runs") :]
    table = table[: table.index("## All charts")]
    assert "| redis-push, flowing (2 w) |" in table
    assert "redis-timer" not in table
    assert "outage" not in table
    for each in rest:
        assert each.replace("_", "\\_") in text
        assert each in page.read_text()


def test_a_scenario_with_other_settings_is_left_out(pair: tuple[Path, Path]) -> None:
    a, b = read_run(pair[0]), read_run(pair[0])
    _other_pace(b.manifest, b.cases)
    both, _rest = shared(a, b)
    assert {key.scenario for key in both} == {"steady"}


@pytest.mark.usefixtures("no_pictures")
def test_an_invalid_run_is_compared_and_flagged(pair: tuple[Path, Path], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    cut = shutil.copytree(pair[1], tmp_path / "cut")
    manifest = json.loads((cut / "manifest.json").read_text())
    (cut / "manifest.json").write_text(json.dumps(manifest | {"complete": False}))
    result = CliRunner().invoke(app, [str(pair[0]), str(cut), "--results", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert f"B ({cut}) is invalid: the run was interrupted" in result.stderr
    assert "comparison: " in result.stdout


def test_without_two_folders_the_newest_are_named(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()
    app.command()(command)
    for number in range(1, 8):
        (tmp_path / f"2026120{number}-all").mkdir()
        (tmp_path / f"2026120{number}-all" / "manifest.json").write_text("{}")
    (tmp_path / "latest").symlink_to("20261207-all")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [str(pair[0]), "", "--results", "."])
    assert result.exit_code == 4
    assert "yours: 20261207-all, 20261206-all, 20261205-all, 20261204-all, 20261203-all\n" in result.stderr
