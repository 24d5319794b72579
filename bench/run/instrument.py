"""The instrument's own cases: the floor it cannot see below, and the delays and losses it must find again."""

from bench.workload.plan import Case
from bench.workload.scenario import Scenario
from bench.workload.strategies import CALIBRATION, FLOOR

INSTANT, DELAY, DROP = "instant", "delay", "drop"
ARMS = (INSTANT, DELAY, DROP)
_TURNS = (INSTANT, DROP, DELAY, DROP)  # a loss is rare, so it gets half of the chats

FLOOR_CASE = Case(
    FLOOR,
    Scenario(
        name=FLOOR,
        sentence="No service: the client hangs up on the mock itself.",
        ttft_ms=100,
        itl_ms=20,
        output_tokens=75,
        rate_per_s=50,
        streams=150,
        chats=40,
        abort_share=1.0,
        abort_margin_ms=150,
    ),
    workers=1,
)
CALIBRATION_CASE = Case(
    CALIBRATION,
    Scenario(
        name=CALIBRATION,
        sentence="A service whose delays and losses are known.",
        ttft_ms=20,
        itl_ms=20,
        output_tokens=40,
        rate_per_s=120,
        streams=300,
        chats=800,  # 400 with losses: without any seen, 1 % would lie outside the interval
        abort_share=1.0,
        abort_margin_ms=100,
    ),
    workers=1,
)


def arm_id(case: Case, prefix: str, index: int) -> str:
    """The request id of a chat; in the calibration it tells the service what to do with it."""
    return f"{prefix}-{_TURNS[index % len(_TURNS)]}-{index}" if case.strategy == CALIBRATION else f"{prefix}-{index}"


def arm_of(request_id: str) -> str:
    """The arm in a calibration's request id."""
    return request_id.split("-")[-2]
