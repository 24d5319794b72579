"""The rate of false alarms of the comparison, over more runs than `make test` has time for."""

from __future__ import annotations

import pytest

from tests.bench.gate.test_false_alarms import NOISES, check_rates


@pytest.mark.parametrize("kind", NOISES)
def test_twenty_comparisons_of_the_same_strategy_raise_next_to_no_alarm(kind: str) -> None:
    check_rates(kind, runs=400)
