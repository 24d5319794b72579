"""An outcome with one metric of each verdict."""

from __future__ import annotations

import pytest

from bench.gate.family import decide_all
from bench.gate.margins import DEFAULTS
from bench.gate.outcome import Outcome
from bench.record.verdict import SideInfo
from tests.bench.fake_gate import PUSH, TIMER

STEADY = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0]


def line(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.fixture
def outcome() -> Outcome:
    """One metric of each verdict: worse, better, equivalent, inconclusive."""
    base = {
        (PUSH, "upstream_stop_ms"): line(STEADY),
        (PUSH, "ttft_ms"): line([9 * value for value in STEADY]),
        (TIMER, "upstream_stop_ms"): line([25 * value for value in STEADY]),
        (PUSH, "chats_per_s"): line([20 * value for value in STEADY]),
    }
    head = {
        (PUSH, "upstream_stop_ms"): line([value + 5 for value in STEADY]),
        (PUSH, "ttft_ms"): line([4 * value for value in STEADY]),
        (TIMER, "upstream_stop_ms"): line([25 * value for value in STEADY]),
        (PUSH, "chats_per_s"): line([50.0, 30.0, 41.0, 29.0, 52.0, 40.0]),
    }
    found = decide_all(base, head, DEFAULTS)
    base_side, head_side = SideInfo(name="main", commit="0123abc"), SideInfo(name="head", commit="4567def")
    return Outcome(found, base=base_side, head=head_side, margin_source="default margins")
