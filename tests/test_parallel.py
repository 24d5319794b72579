"""`python -m tests`: which part runs, and what the exit code of several parts is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import __main__ as runner
from tests.conftest import pytest_ignore_collect
from tests.parallel import EXPRESSIONS, LONGEST, MARKER_OF, TESTS, marker_of, parts_of, position_of

ROOT = Path(__file__).parents[1]
OK, FAILED, INTERRUPTED, NONE = 0, 1, 2, 5


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    made: list[list[str]] = []
    monkeypatch.chdir(ROOT)

    def record(arguments: list[str]) -> int:
        made.append(arguments)
        return OK

    monkeypatch.setattr(pytest, "main", record)
    return made


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
        ([], ["pure", "waiting", None]),
        (["-k", "p50"], ["pure", "waiting", None]),
        (["tests/bench"], ["pure", "waiting", None]),
        (["tests/bench/gate"], ["pure", None]),
        (["tests/bench/stats", "-x"], ["pure"]),
        (["tests/server", "-k", "p50"], ["waiting"]),
        (["tests/server/test_abort.py::test_any", "tests/bench/stats"], ["pure", "waiting"]),
    ],
)
def test_parts_without_tests_are_left_out(
    calls: list[list[str]], arguments: list[str], parts: list[str | None]
) -> None:
    assert runner.main(arguments) == OK
    assert calls == [["-m", EXPRESSIONS[name], *runner.OPTIONS[name], *arguments] for name in parts]


def test_failed_tests_run_again_unless_they_are_pure(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        calls.append(arguments)
        return FAILED

    monkeypatch.setattr(pytest, "main", fail)
    assert runner.main([]) == FAILED
    again = [call for call in calls if "--last-failed" in call]
    assert [call[1] for call in again] == [EXPRESSIONS["waiting"], EXPRESSIONS[None]]
    assert not [call for call in again if "-n" in call]


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
