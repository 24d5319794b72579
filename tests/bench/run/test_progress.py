"""One bar for the whole run: it never goes back, counts cases of the plan only, and says when the run will end."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from bench.load.driver import expected_s
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.progress import Expected, ProgressView
from bench.workload.plan import Case, select

CASES = select("redis", ["flowing", "steady"], strategies=["redis-push", "none"])


class Clock:
    """Stands in for time.monotonic: a load takes as long as it should, unless told otherwise."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "monotonic", found)
    monkeypatch.setattr(time, "time", found)
    return found


def played(view: ProgressView, clock: Clock, blocks: int) -> list[float]:
    """How full the bar is after every half of a case."""
    shown = []

    def measure(case: Case, *, notes: bool = True) -> None:
        for share in (0.5, 1.0):
            clock.now += expected_s(case) / 2
            view.advance(case, share)
            shown.append(view._shown)
        if notes:
            view.finished(case, [])

    measure(CALIBRATION_CASE, notes=False)
    for block in range(blocks):
        view.begin(block)
        for case in (FLOOR_CASE, *CASES):
            measure(case)
    return shown


@pytest.mark.parametrize("expects", [Expected(3), Expected(None, 1.0), Expected(None, 0.1), Expected(None, 60.0)])
def test_the_bar_never_goes_back(clock: Clock, expects: Expected) -> None:
    shown = played(ProgressView(CASES, Console(file=io.StringIO()), expects=expects), clock, 3)
    assert shown == sorted(shown)
    assert 0 < shown[0] < shown[-1] <= 1
    if expects.blocks:
        assert shown[-1] == pytest.approx(1)


def test_lines_say_when_the_whole_run_ends(clock: Clock) -> None:
    text = io.StringIO()
    played(ProgressView(CASES, Console(file=text, width=200), expects=Expected(2)), clock, 2)
    ends = re.findall(r"\(ends about (\d\d:\d\d)\)", text.getvalue())
    assert len(ends) == 2 * (1 + len(CASES))
    assert len(set(ends)) == 1, "every load took as long as it should"


def test_with_a_limit_of_minutes_the_end_is_their_end(clock: Clock) -> None:
    text = io.StringIO()
    at = time.strftime("%H:%M", time.localtime(clock.now + 60 * 60))
    played(ProgressView(CASES, Console(file=text, width=200), expects=Expected(None, 60)), clock, 1)
    assert set(re.findall(r"\((.*?)\)", text.getvalue())) == {f"ends by about {at}"}


def test_the_instrument_has_one_name_and_no_number() -> None:
    view = ProgressView(CASES, Console(file=io.StringIO()), expects=Expected(2))
    assert view._name(CALIBRATION_CASE, 1) == "calibration"
    assert view._name(FLOOR_CASE, 1) == "floor"
    assert view._name(CASES[0], 1) == "block 1 of 2, case 1 of 4: redis-push, flowing"
