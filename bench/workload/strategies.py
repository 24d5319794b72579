"""The strategies and scenarios that are not contenders: the control, the reference, and what proves the instrument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def hangs_up(strategy: str, settings: Mapping[str, Any]) -> bool:
    """True when a Stop is the client's own hanging up: it sends no abort and ends its own stream."""
    return strategy in (DISCONNECT, FLOOR) or settings.get("abort_by") == "hangup"


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
