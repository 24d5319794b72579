"""Two runs side by side: unlike ones are refused by the key that differs, alike ones are shown and left alone."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli.show import compare as command
from bench.record.base import read_file
from bench.record.summary import Summary
from bench.report.charts import canvas
from bench.report.compare import (
    UnlikeRuns,
    changes_text,
    compare,
    pairs_of,
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
