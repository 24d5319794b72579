"""`python -m tests`: which part runs, and what the exit code of several parts is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import __main__ as runner
from tests.parallel import PURE, SERIAL, WAITING, marker_of

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


def part(name: str, arguments: list[str]) -> list[str]:
    return ["-m", name, *runner.PARALLEL, *arguments]


def test_the_lists_are_current() -> None:
    assert [path for path in (*PURE, *WAITING, *SERIAL) if not path.exists()] == []
    assert marker_of(PURE[0] / "test_any.py") == "pure"
    assert marker_of(WAITING[0] / "test_any.py") == "waiting"
    assert [marker_of(path) for path in (*SERIAL, Path(__file__))] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["pure", "waiting"]),
        (["-k", "p50"], ["pure", "waiting"]),
        (["tests/bench"], ["pure"]),
        (["tests/bench/stats", "-x"], ["pure"]),
        (["tests/server", "-k", "p50"], ["waiting"]),
    ],
)
def test_parallel_tests_run_first(calls: list[list[str]], arguments: list[str], names: list[str]) -> None:
    assert runner.main(arguments) == OK
    assert calls == [*(part(name, arguments) for name in names), [*runner.SERIAL, *arguments]]


@pytest.mark.parametrize("arguments", [["tests/browser", "-k", "p50"], ["-m", "pure"], ["tests/test_parallel.py::x"]])
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
        ((NONE, FAILED), FAILED),
        ((INTERRUPTED,), INTERRUPTED),
    ],
)
def test_the_exit_code_covers_all_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], codes: tuple[int, ...], code: int
) -> None:
    left = iter(codes)
    monkeypatch.setattr(pytest, "main", lambda _: next(left))
    assert runner.main(["tests/bench"]) == code
    assert list(left) == []
    assert ("an earlier one of the summaries" in capsys.readouterr().err) is (codes == (FAILED, OK))
