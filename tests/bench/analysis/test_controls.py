"""Controls: each holds on data where it must, fails on data where it must not hold, and is silent where it cannot."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.analysis.controls import controls_of
from bench.analysis.reading import CaseKey
from bench.analysis.summary import summarise
from bench.record.summary import Control, SummaryCase
from tests.bench import fake_results as fake

NAMES = ("memory-push", "redis-push", "disconnect", "none")


def table(
    metric: str, middles: dict[str, float], *, blocks: int = 8, workers: int = 1, spread: float = 0.02
) -> dict[tuple[CaseKey, str], dict[int, float]]:
    """Block values around each strategy's middle, the machine's mood of a block shared by all."""
    rng = random.Random(metric)
    mood = [rng.gauss(1, 0.1) for _ in range(blocks)]
    return {
        (CaseKey(name, "flowing", workers, 50), metric): {
            block: middle * mood[block] * rng.gauss(1, spread) for block in range(blocks)
        }
        for name, middle in middles.items()
    }


def cases(names: tuple[str, ...] = NAMES, *, workers: int = 1, stopped_by_none: int = 0) -> list[SummaryCase]:
    missed = {"none": 300 - stopped_by_none}
    return [
        SummaryCase(
            strategy=name, scenario="flowing", workers=workers, streams=50, aborts=300, missed=missed.get(name, 0)
        )
        for name in names
    ]


def control(controls: list[Control], start: str) -> Control:
    (found,) = [each for each in controls if each.name.startswith(start)]
    return found


@pytest.mark.parametrize(
    ("metric", "start", "middle", "odd", "words"),
    [
        ("ttft_unstopped_ms", "ttft", 100.0, 110.0, "differs from none's: redis-push (+"),
        ("itl_unstopped_ms", "itl", 20.0, 24.0, "differs from none's: redis-push (+"),
    ],
)
def test_chats_nobody_aborted_must_not_differ(metric: str, start: str, middle: float, odd: float, words: str) -> None:
    same = dict.fromkeys(NAMES, middle)
    held = control(controls_of(cases(), table(metric, same)), start)
    assert held.holds is True
    assert "is none's for all others but for noise (at most" in held.says
    failed = control(controls_of(cases(), table(metric, same | {"redis-push": odd})), start)
    assert failed.holds is False
    assert words in failed.says
    assert "memory-push" not in failed.says


def test_a_difference_that_is_sure_but_tiny_is_none() -> None:
    values = table("itl_unstopped_ms", dict.fromkeys(NAMES, 20.0))
    values[CaseKey("redis-push", "flowing", 1, 50), "itl_unstopped_ms"] = {
        block: value + 0.9 for block, value in values[CaseKey("none", "flowing", 1, 50), "itl_unstopped_ms"].items()
    }
    assert control(controls_of(cases(), values), "itl").holds is True


def test_a_difference_that_is_large_but_as_large_as_the_noise_is_none() -> None:
    values = table("itl_unstopped_ms", dict.fromkeys(NAMES, 20.0) | {"redis-push": 23.0}, spread=0.3)
    held = control(controls_of(cases(), values), "itl")
    assert held.holds is True


def test_four_blocks_cannot_tell() -> None:
    values = table("ttft_unstopped_ms", {"none": 100.0, "redis-push": 300.0}, blocks=4) | table(
        "upstream_stop_ms", {"memory-push": 9.0, "redis-push": 2.0}, blocks=4
    )
    controls = controls_of(cases(), values)
    for start in ("ttft", "memory-push"):
        assert control(controls, start).holds is None
        assert "unknown, needs 5 blocks" in control(controls, start).says


def test_none_ranks_last_or_is_a_failure() -> None:
    held, failed = (control(controls_of(cases(stopped_by_none=count), {}), "none") for count in (0, 2))
    assert (held.holds, held.says) == (True, "none stopped 0 of 300 aborted chats, so it ranks last")
    assert (failed.holds, failed.says) == (False, "none stopped 2 of 300 aborted chats")
    assert not controls_of(cases(("redis-push",)), {})


def test_memory_push_is_first_with_one_worker_or_the_run_says_so() -> None:
    middles = {"memory-push": 1.5, "redis-push": 2.0, "disconnect": 0.5}
    held = control(controls_of(cases(), table("upstream_stop_ms", middles)), "memory-push")
    assert held.holds is True
    failed = control(controls_of(cases(), table("upstream_stop_ms", middles | {"redis-push": 1.2})), "memory-push")
    assert failed.holds is False
    assert "memory-push is not first: faster is redis-push (-0." in failed.says
    floor = controls_of(cases(), table("upstream_stop_ms", middles | {"redis-push": 1.2}), floor_spread=0.5)
    assert control(floor, "memory-push").holds is True
    two = controls_of(cases(workers=2), table("upstream_stop_ms", middles | {"redis-push": 1.2}, workers=2))
    assert [each.name for each in two] == ["none ranks last"], "with several workers it loses aborts"


def test_memory_push_on_one_worker_is_held_against_the_contenders_on_two_as_a_run_measures_them() -> None:
    both = cases(("memory-push",)) + cases(workers=2)
    one = table("upstream_stop_ms", {"memory-push": 1.5})
    others = {"memory-push": 1.2, "redis-push": 2.0, "disconnect": 0.5}
    held = control(controls_of(both, one | table("upstream_stop_ms", others, workers=2)), "memory-push")
    assert held.holds is True, "itself on two workers is no rival"
    failed = control(
        controls_of(both, one | table("upstream_stop_ms", others | {"redis-push": 0.8}, workers=2)), "memory-push"
    )
    assert failed.holds is False
    assert "faster is redis-push with 2 workers (-0." in failed.says
    elsewhere = [msgspec.structs.replace(each, scenario="stalled") for each in cases(workers=2)]
    assert "memory-push" not in " ".join(each.name for each in controls_of([*both[:1], *elsewhere], one))


def test_a_control_that_fails_is_a_warning_on_top_and_the_run_stays_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["redis-push", "none"]
    folder = fake.write(tmp_path / "same", strategies=names, scenarios=["steady"], chats=8, blocks=6)
    summary = summarise(folder)
    assert (summary.valid, summary.warnings) == (True, [])
    assert [each.holds for each in summary.controls] == [True, True]
    chat = fake.chat

    def slow(strategy: str, *rest: Any, **named: Any) -> dict[str, Any]:
        row = chat(strategy, *rest, **named)
        if strategy == "redis-push":
            row["client"]["sent_ns"] -= 15_000_000
        return row

    monkeypatch.setattr(fake, "chat", slow)
    summary = summarise(fake.write(tmp_path / "slow", strategies=names, scenarios=["steady"], chats=8, blocks=6))
    assert summary.valid
    (warning,) = summary.warnings
    assert "time to the first token of chats without an abort, in steady (2 workers, 50 streams), differs" in warning
    assert "redis-push (+15.00 ms)" in warning
