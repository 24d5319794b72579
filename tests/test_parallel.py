"""`python -m tests`: which part runs, and what the exit code of several parts is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests import __main__ as runner
from tests.conftest import pytest_ignore_collect
from tests.parallel import EXPRESSIONS, LONGEST, MARKER_OF, TESTS, marker_of, parts_of, position_of

ROOT = Path(__file__).parents[1]
OK, FAILED, INTERRUPTED, NONE = 0, 1, 2, 5
BESIDE = "beside"
"""Marks a session of the least priority."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    made: list[list[str]] = []
    monkeypatch.chdir(ROOT)

    def record(arguments: list[str]) -> int:
        made.append(arguments)
        return OK

    monkeypatch.setattr(pytest, "main", record)
    monkeypatch.setattr(runner, "least_priority", beside(lambda arguments: record([BESIDE, *arguments])))
    return made


def beside(run: Callable[[list[str]], int]) -> Callable[[list[str]], AbstractContextManager[Callable[[], int]]]:
    """In place of `runner.least_priority`: runs nothing until its end is waited for."""
    return lambda arguments: nullcontext(lambda: run(arguments))


def test_the_lists_are_current() -> None:
    assert [path for path in MARKER_OF if not path.exists()] == []
    assert {marker_of(file) for file in TESTS.rglob("test_*.py")} == set(EXPRESSIONS) == set(runner.OPTIONS)


def test_the_longest_files_come_first() -> None:
    assert {part for path in LONGEST for part in parts_of(TESTS / path)} == {"waiting"}
    files = sorted(TESTS.rglob("test_*.py"), key=position_of)
    first = [TESTS / LONGEST[0], TESTS / LONGEST[1]]
    assert files[:2] == first
    assert position_of(TESTS / "browser" / "test_stop.py") == LONGEST.index("browser")
    assert position_of(TESTS / "server" / "test_abort.py") == len(LONGEST)


@pytest.mark.parametrize(
    ("file", "marker"),
    [
        ("bench/gate/test_verdict.py", "pure"),
        ("bench/gate/test_regress.py", None),
        ("bench/run/test_enough.py", "pure"),
        ("bench/run/test_storage.py", "waiting"),
        ("bench/run/test_duet.py", None),
        ("server/test_abort.py", "waiting"),
        ("test_new.py", None),
    ],
)
def test_the_nearest_entry_of_a_path_counts(file: str, marker: str | None) -> None:
    assert marker_of(TESTS / file) == marker


def test_every_file_is_collected_by_its_own_part_only() -> None:
    def ignored(path: Path, expression: str) -> bool:
        config: Any = SimpleNamespace(getoption={"markexpr": expression}.get)
        return bool(pytest_ignore_collect(path, config))

    for file in TESTS.rglob("test_*.py"):
        for part, expression in EXPRESSIONS.items():
            assert ignored(file, expression) is (part != marker_of(file))
        assert not ignored(file, "")
    for part, expression in EXPRESSIONS.items():
        assert ignored(TESTS / "bench" / "stats", expression) is (part != "pure")
        assert not ignored(TESTS / "bench", expression)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["waiting", "pure beside", None]),
        (["-k", "p50"], ["waiting", "pure beside", None]),
        (["tests/bench"], ["waiting", "pure beside", None]),
        (["tests/bench/gate"], ["pure", None]),
        (["tests/bench/stats", "-x"], ["pure"]),
        (["tests/server", "-k", "p50"], ["waiting"]),
        (["tests/server/test_abort.py::test_any", "tests/bench/stats"], ["waiting", "pure beside"]),
    ],
)
def test_parts_without_tests_are_left_out(
    calls: list[list[str]], arguments: list[str], parts: list[str | None]
) -> None:
    assert runner.main(arguments) == OK
    assert len(calls) == len(parts)
    for call, part in zip(calls, parts, strict=True):
        name, _, how = (part or "").partition(" ")
        assert call[:1] == ([BESIDE] if how else ["-m"])
        assert call[call.index("-m") + 1] == EXPRESSIONS[name or None]
        assert call[-len(arguments) :] == arguments or not arguments
        assert ("-n" in call) is bool(name)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [([], ["waiting", "pure", None]), (["tests/bench/gate"], [None]), (["tests/server"], ["waiting"])],
)
def test_failed_tests_run_again_unless_they_are_pure_and_had_the_machine(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch, arguments: list[str], parts: list[str | None]
) -> None:
    def fail(arguments: list[str]) -> int:
        calls.append(arguments)
        return FAILED

    monkeypatch.setattr(pytest, "main", fail)
    monkeypatch.setattr(runner, "least_priority", beside(fail))
    assert runner.main(arguments) == FAILED
    again = [call for call in calls if "--last-failed" in call]
    assert [call[1] for call in again] == [EXPRESSIONS[part] for part in parts]
    assert not [call for call in again if "-n" in call]


def test_a_session_of_the_least_priority_shows_its_output_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("test_nice.py").write_text("import os\ndef test_it(): assert os.nice(0) < 19")
    with runner.least_priority(["-q"]) as finish:
        assert finish() == FAILED
    assert "assert 19 < 19" in capsys.readouterr().out


def test_a_session_of_the_least_priority_ends_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("test_long.py").write_text("import time\ndef test_it(): open('began', 'w').close(); time.sleep(600)")
    before = psutil.Process().children()
    with runner.least_priority(["-q"]):
        while not Path("began").exists():
            time.sleep(0.01)  # a file has no event
    assert psutil.Process().children() == before


@pytest.mark.parametrize("arguments", [["tests/bench/run/test_duet.py", "-k", "p50"], ["-m", "pure"]])
def test_other_arguments_are_plain_pytest(calls: list[list[str]], arguments: list[str]) -> None:
    assert runner.main(arguments) == OK
    assert calls == [arguments]


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ((OK, OK), OK),
        ((OK, NONE), OK),
        ((NONE, OK), OK),
        ((NONE, NONE), NONE),
        ((FAILED, OK), FAILED),
        ((NONE, FAILED, FAILED), FAILED),
        ((OK, FAILED, OK), OK),
        ((FAILED, FAILED, OK), FAILED),
        ((OK, FAILED, NONE), FAILED),
        ((INTERRUPTED,), INTERRUPTED),
    ],
)
def test_the_exit_code_covers_all_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], codes: tuple[int, ...], code: int
) -> None:
    left = iter(codes)
    monkeypatch.setattr(pytest, "main", lambda _: next(left))
    assert runner.main(["tests/bench/gate"]) == code
    assert list(left) == []
    assert ("an earlier one of the summaries" in capsys.readouterr().err) is (codes[0] == FAILED and codes[-1] == OK)
