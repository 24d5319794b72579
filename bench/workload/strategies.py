"""The strategies and scenarios that are not contenders: the control, the reference, and what proves the instrument."""

from __future__ import annotations

NONE = "none"
"""The control: an abort is never delivered."""
DISCONNECT = "disconnect"
"""The reference: the client hangs up."""
FLOOR = "floor"
"""Strategy and scenario: the load talks straight to the mock, and a Stop is the client closing its connection."""
CALIBRATION = "calibration"
"""Scenario of the arms `calibration-instant`, `calibration-delay` and `calibration-drop`."""
STRATEGY_ORDER = (
    "disconnect",
    "memory-push",
    "postgres-push",
    "redis-push",
    "postgres-timer",
    "redis-timer",
    "memory-poll",
    "postgres-poll",
    "redis-poll",
    "none",
)
"""In which tables and charts list the strategies; others follow by name."""
SCENARIO_ORDER = (
    "flowing",
    "fast",
    "slow",
    "stalled",
    "first-token",
    "race",
    "late",
    "double",
    "storm",
    "wrong-worker",
    "slow-reader",
    "disconnect",
    "outage",
    "steady",
)


def hangs_up(strategy: str, abort_by: str) -> bool:
    """Whether the client disconnects instead of sending an abort; `abort_by` is the scenario's."""
    return strategy in (DISCONNECT, FLOOR) or abort_by == "hangup"


def is_special(scenario: str) -> bool:
    """True for what proves the instrument: floor and calibration are in no ranking, comparison or list of cases."""
    return scenario in (FLOOR, CALIBRATION)


def is_contender(strategy: str) -> bool:
    """True for a way of delivering aborts: what a reader may choose from."""
    return strategy not in (NONE, DISCONNECT)


def strategy_rank(strategy: str) -> tuple[int, str]:
    """Sort key: STRATEGY_ORDER, then by name."""
    return _rank(STRATEGY_ORDER, strategy)


def scenario_rank(scenario: str) -> tuple[int, str]:
    """Sort key: SCENARIO_ORDER, then by name."""
    return _rank(SCENARIO_ORDER, scenario)


def _rank(order: tuple[str, ...], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)
