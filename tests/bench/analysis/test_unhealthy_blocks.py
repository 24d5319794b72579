"""One bad block of many makes a case less exact, not wrong; with few blocks, or more of them, it is wrong."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.analysis.checks import find_problems, find_warnings
from bench.analysis.reading import Run
from bench.record.manifest import Manifest
from bench.record.schema import CaseRow


def row(block: int, *, late_ms: float) -> dict[str, Any]:
    return {
        "strategy": "redis-push", "scenario": "flowing", "workers": 2, "streams": 5, "block": block,
        "chats_planned": 0, "witness_late_p99_ms": late_ms,
    }  # fmt: skip


def run_of(cases: list[dict[str, Any]], blocks: int) -> Run:
    return Run(Path(), Manifest(complete=True, blocks=blocks), msgspec.convert(cases, list[CaseRow]), [])


@pytest.mark.parametrize(("sick", "blocks", "valid"), [(0, 5, True), (1, 5, True), (2, 5, False), (1, 4, False)])
def test_a_fifth_of_the_blocks_may_be_unwell(sick: int, blocks: int, valid: bool) -> None:
    cases = [row(block, late_ms=40.0 if block < sick else 0.1) for block in range(blocks)]
    run = run_of(cases, blocks)
    problems, warnings = find_problems(run, []), find_warnings(run, [], [])
    assert (problems == []) is valid
    assert len(warnings) == (1 if sick and valid else 0)
    for said in [*problems, *warnings]:
        assert f"{sick} of {blocks} blocks" in said
        assert "40.0 ms late" in said


def test_what_is_less_exact_is_told_once_for_all_cases() -> None:
    signs = {"lag_p50_ms": 0.1, "lag_max_ms": 9.0, "gc_max_ms": 0.0, "cpu": 0.2, "name": "load", "pid": 7}
    cases = [row(block, late_ms=0.1) | {"strategy": name} for name in ("none", "redis-push") for block in range(5)]
    for number, each in enumerate(cases[3:], 1):
        lag = signs | {"lag_p99_ms": 3.0 + number / 10}
        each["health"] = {"processes": [lag], "chunks_per_s": 1.0, "steal": 0.0}
    (warning,) = find_warnings(run_of(cases, 5), [], [])
    assert "7 of 10 blocks of cases exceeded a soft limit, most of them in redis-push in flowing" in warning
    assert "the load (process 7): its loop was 3.3 ms late" in warning
