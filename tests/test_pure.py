"""`python -m tests`: which part runs, and what the exit code of two parts is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import __main__ as runner
from tests.pure import NOT_PURE, PURE, is_pure

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


def test_the_list_of_pure_tests_is_current() -> None:
    assert [path for path in (*PURE, *NOT_PURE) if not path.exists()] == []
    assert is_pure(PURE[0] / "test_any.py")
    assert not any(is_pure(path) for path in (*NOT_PURE, Path(__file__)))


@pytest.mark.parametrize("arguments", [[], ["-k", "p50"], ["tests/bench"], ["tests/bench/stats", "-x"]])
def test_pure_tests_run_in_parallel_and_the_others_afterwards(calls: list[list[str]], arguments: list[str]) -> None:
    assert runner.main(arguments) == OK
    assert calls == [[*runner.PARALLEL, *arguments], [*runner.SERIAL, *arguments]]


@pytest.mark.parametrize("arguments", [["tests/server", "-k", "p50"], ["-m", "pure"], ["tests/test_pure.py::test_x"]])
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
def test_the_exit_code_covers_both_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], codes: tuple[int, ...], code: int
) -> None:
    left = iter(codes)
    monkeypatch.setattr(pytest, "main", lambda _: next(left))
    assert runner.main([]) == code
    assert list(left) == []
    assert ("first of the two summaries" in capsys.readouterr().err) is (codes == (FAILED, OK))
