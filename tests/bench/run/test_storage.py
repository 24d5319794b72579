"""A disk that fills up in the middle of a run: one line, exit code 2, and what was finished can be read."""

from __future__ import annotations

import errno
import gzip
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.cli import run as cli_run
from bench.record.manifest import Manifest, PlannedChat, ScheduleRow
from bench.record.writer import Results
from bench.report.render import render
from bench.run.campaign import Run
from bench.system.embedded import temporary_folder
from bench.system.procs import ChildError
from bench.system.storage import StorageError, writing
from bench.workload.plan import Case
from tests.bench.small_rows import case_row, chat_row
from tests.bench.small_runs import cases_of, chats_of, execute, manifest_of, shrink_the_instrument, small


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: a write is cut short, and the next one refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/file")


@pytest.mark.parametrize("file", ["chats.jsonl.gz", "cases.jsonl"])
def test_a_case_that_does_not_fit_leaves_the_files_as_they_were(tmp_path: Path, file: str) -> None:
    results = Results(tmp_path, "run")
    results.append([chat_row(0)], case_row("flowing"))
    before = {path.name: path.read_bytes() for path in results.folder.iterdir() if path.is_file()}
    large = file == "chats.jsonl.gz"
    chats, case = [chat_row(0, tokens=9000 if large else 0)], case_row("x" * (1 if large else 9000))
    with room(2000), pytest.raises(OSError, match="File too large"):
        results.append(chats, case)
    assert {path.name: path.read_bytes() for path in results.folder.iterdir() if path.is_file()} == before
    results.append([chat_row(1)], case_row("steady"))
    with gzip.open(results.folder / "chats.jsonl.gz", "rt") as lines:
        assert [json.loads(line)["index"] for line in lines] == [0, 1]


def test_the_first_case_and_its_schedule_leave_nothing_behind(tmp_path: Path) -> None:
    results = Results(tmp_path, "run")
    planned = [PlannedChat(index=index, at_ms=index / 7) for index in range(9000)]
    with room(100):
        with pytest.raises(OSError, match="File too large"):
            results.append([chat_row(0, tokens=9000)], case_row("flowing"))
        with pytest.raises(OSError, match="File too large"):
            results.append_schedule(ScheduleRow(scenario="flowing", block=0, chats=planned))
        with pytest.raises(OSError, match="File too large"):
            results.write_manifest(Manifest(label="x" * 9000))
    assert [path.name for path in results.folder.iterdir()] == ["logs"]
    results.append_schedule(ScheduleRow(scenario="flowing", block=0, chats=[]))
    assert (results.folder / "schedule.jsonl.gz").exists()


def test_a_run_ends_when_its_disk_is_full_and_what_was_finished_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_the_instrument(monkeypatch)
    with temporary_folder("watch"):  # the helper that ends leftovers is there from now on, and stays
        before = set(psutil.Process().children())  # some of them, such as a browser, start others at any time
    append, write_manifest = Results.append, Results.write_manifest
    filled = False

    def append_until_full(self: Results, chats: Any, case: Any) -> None:
        nonlocal filled
        filled = filled or case.scenario == "steady"
        full() if filled else append(self, chats, case)

    monkeypatch.setattr(Results, "append", append_until_full)
    monkeypatch.setattr(Results, "write_manifest", lambda *given: full() if filled else write_manifest(*given))
    steady = small("steady", streams=4, chats=8, output_tokens=20)
    flowing = small("flowing", chats=8, output_tokens=25)
    with pytest.raises(StorageError) as ended:
        execute(tmp_path, [Case("memory-push", each, 1) for each in (flowing, steady)], blocks=2)
    (folder,) = tmp_path.iterdir()
    assert str(ended.value) == (
        "/somewhere/file cannot be written (No space left on device): free some space, or choose another place with "
        f"--results or TMPDIR; finished cases are kept: make report RUN_DIR={folder}"
    )
    assert set(psutil.Process().children()) <= before
    assert {case["scenario"] for case in cases_of(folder)} == {"calibration", "floor"}
    assert chats_of(folder)
    assert manifest_of(folder)["complete"] is False
    render(folder)
    assert "the run was interrupted" in (folder / "report.md").read_text()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_command_ends_in_one_line_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def broken(run: Run, _stack: object) -> NoReturn:
        (run._sides[0].results.folder / "cases.jsonl").touch()
        raise OSError(number, "the cause", "the place")

    monkeypatch.setattr(Run, "_measure_all", broken)
    result = CliRunner().invoke(app, ["run", "--backend", "memory", "--results", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "bench: could not measure: the place cannot be written (the cause): free some space"
    )
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("knee", "bench.experiments.knee_run.measure_knees"),
        ("stop-path", "bench.experiments.stop_path.measure_stops"),
        ("calibrate", "bench.cli.instrument.written"),
        ("relay", "bench.experiments.relay.compare.compare"),
        ("backends", "bench.experiments.abort_path.measure"),
        ("soak", "bench.experiments.soak.run.find_leaks"),
        ("instrument", "bench.experiments.instrument.measure_errors"),
        ("prove", "bench.experiments.prove.proof.Proof.run"),
        ("aa", "bench.gate.aa_test.measure"),
    ],
)
def test_so_do_all_that_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, function: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(function, full)
    monkeypatch.setattr("bench.experiments.instrument.calibrate_once", lambda *_, **__: {"problems": []})
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 2
    assert "/somewhere/file cannot be written (No space left on device)" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_process_that_died_of_a_full_disk_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ChildError, match=r"^locust died$"), writing(tmp_path):
        raise ChildError("locust died")
    monkeypatch.setattr("bench.system.storage.SPARE_BYTES", 2**70)
    with pytest.raises(StorageError, match="No space left on device"), writing(tmp_path):
        raise ChildError("locust died")


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "absent").read_text()


@pytest.mark.parametrize(
    ("quick", "problems", "name"),
    [
        (False, [], "latest"),
        (True, [], "latest-quick"),
        (False, ["a: b"], "latest-quick"),
        (True, ["a: b"], "latest-quick"),
    ],
)
def test_latest_is_the_newest_full_and_valid_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool, problems: list[str], name: str
) -> None:
    monkeypatch.setattr(Run, "execute", lambda _: None)
    monkeypatch.setattr(cli_run, "render_report", lambda *_: problems)
    arguments = ["run", "--backend", "memory", "--results", str(tmp_path), *(["--quick"] if quick else [])]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == (2 if problems else 0)
    (link,) = [path for path in tmp_path.iterdir() if path.is_symlink()]
    assert link.name == name
    assert link.resolve().parent == tmp_path
    assert not link.readlink().is_absolute()


def test_before_the_first_full_run_the_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "latest-quick").mkdir()
    result = CliRunner().invoke(app, ["report", str(tmp_path / "latest")])
    assert result.exit_code == 4
    assert result.stderr == (
        f"bench: no full, valid run is there yet; {tmp_path / 'latest-quick'} is the newest of the others\n"
    )
