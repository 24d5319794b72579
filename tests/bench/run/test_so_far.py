"""The live table of a run: medians over all blocks, missed aborts, and whether the instrument is healthy."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.analysis.metrics import ChatMetrics
from bench.run.instrument import FLOOR_CASE
from bench.run.progress import Expected, ProgressView
from bench.run.so_far import SoFar
from bench.workload.plan import select

PUSH, STEADY = select("redis", ["flowing", "steady"], strategies=["redis-push"])


def stops(*ms: float) -> list[ChatMetrics]:
    return [ChatMetrics(outcome="stopped", upstream_stop_ms=each) for each in ms]


MISSED = [ChatMetrics(outcome="missed")]


def drawn(so_far: SoFar) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(so_far.drawn())
    return text.getvalue()


def test_a_cell_has_the_median_of_all_blocks_and_the_missed_aborts() -> None:
    so_far = SoFar()
    assert so_far.drawn() is None
    so_far.add(PUSH, stops(1.0, 2.0), "", [])
    so_far.add(PUSH, [*stops(9.0), *MISSED], "", [])
    so_far.add(STEADY, [ChatMetrics(outcome="plain")], "", [])
    text = drawn(so_far)
    assert "2.0 (1 of 4)" in text
    assert "healthy in all 3 cases" in text
    assert next(line for line in text.splitlines() if "redis-push" in line).endswith("-  ")


def test_sides_have_rows_of_their_own_and_errors_are_counted() -> None:
    so_far = SoFar()
    so_far.add(PUSH, stops(1.0), "base", [])
    so_far.add(PUSH, [*stops(3.0), ChatMetrics(outcome="error", error="refused")], "head", [])
    lines = [line.split() for line in drawn(so_far).splitlines()]
    assert ["base", "redis-push", "1.0", "(0", "of", "1)"] in lines
    assert ["head", "redis-push", "3.0", "(0", "of", "1)", "1", "errors"] in lines


def test_the_instrument_is_judged_with_its_own_cases() -> None:
    so_far = SoFar()
    so_far.add(FLOOR_CASE, stops(0.1), "", ["the host took 9 % of the CPU time"])
    assert so_far.drawn() is None
    so_far.add(PUSH, stops(1.0), "", [])
    text = drawn(so_far)
    assert "1 of 2 cases unhealthy" in text
    assert "the host took 9 % of the CPU time" in " ".join(text.split())
    assert "floor" not in text.split("instrument:")[0]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_the_table_and_the_line_of_the_case(terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=terminal)
    with ProgressView([PUSH], console, expects=Expected(1)) as view:
        view.begin(0)
        view.finished(PUSH, stops(1.5), "", ["late"])
        view._bar.refresh()
    assert ("p50 stop so far" in text.getvalue()) is terminal
    assert "p50 stop      1.5 ms  missed    0  unhealthy" in text.getvalue()
