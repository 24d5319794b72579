"""A run can be repeated from its folder alone, and its report rendered again to the same bytes."""

import contextlib
import gzip
import json
from pathlib import Path

import pytest
import typer

from bench.cli import run as cli_run
from bench.record.writer import SCHEDULE
from bench.report.render import render
from bench.workload.plan import Case
from tests.bench.small_runs import chats_of, execute, manifest_of, schedule_of, shrink_the_instrument, small


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small run in which one moment was then moved by hand, and its rerun."""
    parent = tmp_path_factory.mktemp("rerun")
    with pytest.MonkeyPatch.context() as patch:
        shrink_the_instrument(patch)
        (folder,) = execute(parent / "first", [Case("memory-push", small("flowing", chats=8, output_tokens=25), 1)])
        saved = schedule_of(folder)
        moved = next(row for row in saved if row["scenario"] == "flowing")["chats"]
        victim = next(chat for chat in moved if chat["abort_after_ms"] is not None)
        victim["abort_after_ms"] += 1.5  # no seed gives this moment
        with gzip.open(folder / SCHEDULE, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in saved)
        with contextlib.suppress(typer.Exit):  # so small a calibration recovers nothing: the run is invalid
            cli_run.rerun(folder, results=parent / "again")
    return folder, (parent / "again" / "latest-quick").resolve()


def test_a_rerun_sends_and_stops_at_the_same_moments(runs: tuple[Path, Path]) -> None:
    folder, again = runs
    saved = schedule_of(folder)
    assert schedule_of(again) == saved
    flowing = next(row for row in saved if row["scenario"] == "flowing")["chats"]
    planned = {chat["index"]: chat["abort_after_ms"] for chat in flowing}
    sent = {
        row["index"]: row["abort"] and row["abort"]["after_ms"]
        for row in chats_of(again)
        if row["scenario"] == "flowing"
    }
    assert sent == planned
    same = ("seed", "cases", "scenarios", "blocks", "instrument", "quick")
    assert {name: manifest_of(again)[name] for name in same} == {name: manifest_of(folder)[name] for name in same}
    assert manifest_of(again)["label"] == "test-rerun"


def test_a_report_rendered_again_has_the_same_numbers_byte_for_byte(runs: tuple[Path, Path]) -> None:
    folder = runs[1]  # the rerun has rendered it
    first = {name: (folder / name).read_bytes() for name in ("summary.json", "report.md")}
    for name in first:
        (folder / name).unlink()
    render(folder)
    assert {name: (folder / name).read_bytes() for name in first} == first


@pytest.mark.parametrize("content", [b"[]", b"\x1f\x8b\x08\x00nonsense that no gzip wrote", b"{"])
def test_a_folder_that_cannot_be_repeated_is_one_line(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.json").write_bytes(b"[]" if content[:1] == b"\x1f" else content)
    (tmp_path / SCHEDULE).write_bytes(content if content[:1] == b"\x1f" else gzip.compress(b""))
    with pytest.raises(typer.Exit) as ended:
        cli_run.rerun(tmp_path, results=tmp_path / "again")
    assert ended.value.exit_code == 4
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "again").exists()
