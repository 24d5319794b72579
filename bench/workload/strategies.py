"""The strategies and scenarios that are not contenders, and the order of both in tables and charts."""

from __future__ import annotations

import re

NONE = "none"
"""The control: an abort is never delivered."""
DISCONNECT = "disconnect"
"""The reference: the client disconnects."""
FLOOR = "floor"
"""Strategy and scenario of the instrument: the clients connect to the mock, and disconnect instead of an abort."""
CALIBRATION = "calibration"
"""Scenario of the instrument: injected delays and losses."""
_OWN_STORE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(-(?P<delivery>poll|timer|push))?", re.ASCII)
STRATEGY_ORDER = (
    "disconnect", "memory-push", "postgres-push", "redis-push", "nats-push", "postgres-timer", "redis-timer",
    "nats-timer", "memory-poll", "postgres-poll", "redis-poll", "nats-poll", "none",
)  # fmt: skip
SCENARIO_ORDER = (
    "flowing", "fast", "slow", "stalled", "first-token", "race", "late", "double", "storm", "wrong-worker",
    "slow-reader", "disconnect", "outage", "steady", "flowing-long", "stalled-long", "never-started", "no-headers",
    "whole",
)  # fmt: skip


def hangs_up(strategy: str, abort_by: str) -> bool:
    """Whether the client disconnects instead of sending an abort; `abort_by` is the scenario's."""
    return strategy in (DISCONNECT, FLOOR) or abort_by == "hangup" or _way(strategy).startswith("hangup")


def _way(strategy: str) -> str:
    """The stop in the name of a foreign contender (`target:variant/stop`); empty for a strategy of ours."""
    return strategy.partition("/")[2]


def is_own_store(name: str, *, delivery: bool = False) -> bool:
    """Whether it is a store of another package, `mypackage.mystore:MyStore`; with `delivery`, a strategy of one."""
    found = _OWN_STORE.fullmatch(name)
    return found is not None and (found["delivery"] is not None) == delivery


def is_foreign(strategy: str) -> bool:
    """Whether it is a contender of another target than our own service."""
    return "/" in strategy


def target_of(strategy: str) -> str:
    """The service that a contender is of: `ours`, or `target:variant`."""
    return strategy.rpartition("/")[0] or "ours"


def is_special(scenario: str) -> bool:
    """Whether it measures the instrument: floor and calibration are in no ranking, comparison or list of cases."""
    return scenario in (FLOOR, CALIBRATION)


def is_contender(strategy: str) -> bool:
    """Whether the strategy delivers aborts, so that a reader may choose it."""
    return strategy not in (NONE, DISCONNECT)


def strategy_rank(strategy: str) -> tuple[int, str]:
    """Sort key: STRATEGY_ORDER, then by name."""
    return _rank(STRATEGY_ORDER, strategy)


def scenario_rank(scenario: str) -> tuple[int, str]:
    """Sort key: SCENARIO_ORDER, then by name."""
    return _rank(SCENARIO_ORDER, scenario)


def _rank(order: tuple[str, ...], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)
