"""The results folder: made once, never overwritten, whole after every case."""

import gzip
import json
import os
from pathlib import Path

import pytest

from bench.record import writer
from bench.record.base import SCHEMA
from bench.record.host import describe_commit, describe_host, describe_versions
from bench.record.manifest import Manifest
from bench.record.writer import FolderError, Results
from tests.bench.small_rows import case_row, chat_row


def read_chats(folder: Path) -> list[dict[str, object]]:
    with gzip.open(folder / "chats.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def test_two_runs_of_one_second_get_a_folder_each(tmp_path: Path) -> None:
    folders = {Results(tmp_path, "same").folder for _ in range(5)}
    assert len(folders) == 5


def test_a_label_cannot_leave_the_results_folder(tmp_path: Path) -> None:
    assert Results(tmp_path, "../../some where").folder.parent == tmp_path


def test_chats_can_be_read_after_every_case(tmp_path: Path) -> None:
    results = Results(tmp_path, "run")
    results.append([chat_row(0), chat_row(1)], case_row("flowing"))
    assert [chat["index"] for chat in read_chats(results.folder)] == [0, 1]
    results.append([chat_row(2)], case_row("steady"))
    chats = read_chats(results.folder)
    assert [chat["index"] for chat in chats] == [0, 1, 2]
    assert {chat["schema"] for chat in chats} == {SCHEMA}
    cases = [json.loads(line) for line in (results.folder / "cases.jsonl").read_text().splitlines()]
    assert [case["scenario"] for case in cases] == ["flowing", "steady"]


def test_latest_moves_only_when_told(tmp_path: Path) -> None:
    first, second = Results(tmp_path, "one"), Results(tmp_path, "two")
    writer.publish(first.folder, full=True)
    assert (tmp_path / "latest").resolve() == first.folder.resolve()
    second.write_manifest(Manifest(label="two"))
    assert (tmp_path / "latest").resolve() == first.folder.resolve()
    writer.publish(second.folder, full=False)
    assert (tmp_path / "latest").resolve() == first.folder.resolve()
    assert (tmp_path / "latest-quick").resolve() == second.folder.resolve()
    writer.publish(second.folder, full=True)
    assert (tmp_path / "latest").resolve() == second.folder.resolve()
    assert not (tmp_path / "latest").readlink().is_absolute()  # a results folder may be moved or mounted elsewhere


def test_the_manifest_is_replaced_whole(tmp_path: Path) -> None:
    results = Results(tmp_path, "run")
    results.write_manifest(Manifest(complete=False))
    results.write_manifest(Manifest(complete=True))
    written = json.loads((results.folder / "manifest.json").read_text())
    assert (written["schema"], written["complete"]) == (SCHEMA, True)
    assert sorted(path.name for path in results.folder.iterdir()) == ["logs", "manifest.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"file.*--results"):
        Results(tmp_path / "file", "run")


def test_the_manifest_describes_machine_and_packages() -> None:
    host = describe_host()
    assert host.cpus == len(os.sched_getaffinity(0))
    assert (host.memory_gb or 0) > 0
    assert {"openai", "uvicorn", "locust"} <= set(describe_versions())


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert describe_commit(tmp_path) == (None, None)
