"""Folders that are no results, or damaged ones: one line with cause and next step, or the loss is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from bench.analysis.reading import UnreadableResults, read_run
from bench.report.render import render
from tests.bench import fake_results as fake


def small(folder: Path) -> Path:
    return fake.write(folder, strategies=["redis-push", "none"], scenarios=["flowing"], chats=40)


def spoil_nothing_there(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def spoil_schema(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({"schema": 9}))


def spoil_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def spoil_no_chats(folder: Path) -> None:
    (folder / "chats.jsonl.gz").unlink()


def spoil_no_cases(folder: Path) -> None:
    (folder / "cases.jsonl").write_text("")


def spoil_case_row(folder: Path) -> None:
    (folder / "cases.jsonl").write_text('{"strategy": "redis-push"}\n')


def spoil_chat_row(folder: Path) -> None:
    with gzip.open(folder / "chats.jsonl.gz", "wt") as lines:
        lines.write('{"strategy": "redis-push"}\n')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_nothing_there, "has no manifest.json, so it is no results folder: give a folder that `make bench` made"),
        (spoil_manifest, "manifest.json cannot be read"),
        (spoil_schema, "has schema 9, this program reads 1: use the version that wrote it"),
        (spoil_no_chats, "has no chats.jsonl.gz, so no case of it was finished"),
        (spoil_no_cases, "holds no finished case: run `make bench` again"),
        (spoil_case_row, "line 1 of cases.jsonl is no row of schema 1"),
        (spoil_chat_row, "line 1 of chats.jsonl.gz is no row of schema 1"),
    ],
)
def test_an_unreadable_folder_says_why_and_what_next_in_one_line(tmp_path: Path, spoil: object, words: str) -> None:
    assert callable(spoil)
    spoil(small(tmp_path))
    with pytest.raises(UnreadableResults) as caught:
        render(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableResults, match="is no folder: give a folder"):
        read_run(tmp_path / "absent")


def test_a_file_cut_off_in_the_middle_is_read_up_to_there_and_the_loss_is_told(tmp_path: Path) -> None:
    small(tmp_path)
    whole = (tmp_path / "chats.jsonl.gz").read_bytes()
    (tmp_path / "chats.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    run = read_run(tmp_path)
    assert 0 < len(run.chats) < 80
    assert run.damage == [f"chats.jsonl.gz breaks off after line {len(run.chats)}: what follows is lost"]


def test_a_half_written_last_line_is_told(tmp_path: Path) -> None:
    small(tmp_path)
    with (tmp_path / "cases.jsonl").open("a") as cases:
        cases.write('{"strategy": "redis-')
    run = read_run(tmp_path)
    assert len(run.cases) == 2
    assert run.damage == ["cases.jsonl breaks off after line 2: what follows is lost"]
