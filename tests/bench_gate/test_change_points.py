"""Steps in a line: found where they are, and not made up."""

from __future__ import annotations

import numpy as np
import pytest

from bench.change_points import steps


def noisy(*levels: tuple[float, int], seed: int = 1, noise: float = 0.03) -> list[float]:
    rng = np.random.default_rng(seed)
    return [float(level * rng.lognormal(0, noise)) for level, runs in levels for _run in range(runs)]


def test_a_step_is_found_where_it_is() -> None:
    (step,) = steps(noisy((2.0, 6), (2.6, 6)))
    assert step.at == 6
    assert step.before == pytest.approx(2.0, rel=0.05)
    assert step.after == pytest.approx(2.6, rel=0.05)
    assert step.p < 0.01


def test_two_steps_and_a_return() -> None:
    found = steps(noisy((2.0, 8), (3.0, 8), (2.0, 8)))
    assert [step.at for step in found] == [8, 16]
    assert [round(step.after) for step in found] == [3, 2]


def test_a_single_wild_run_is_no_step() -> None:
    values = noisy((2.0, 14))
    values[7] = 9.0
    assert steps(values) == []


def test_a_flat_line_has_hardly_ever_a_step() -> None:
    found = sum(bool(steps(noisy((2.0, 15), seed=seed, noise=0.2))) for seed in range(60))
    assert found <= 6


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 5, [1.0] * 20, [1.0, 1.0, 1.0, 9.0, 9.0, 9.0]])
def test_too_short_or_all_the_same(values: list[float]) -> None:
    assert steps(values) == []


def test_the_same_line_gives_the_same_answer() -> None:
    values = noisy((2.0, 5), (2.2, 5), seed=4)
    assert steps(values) == steps(values)
