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


def hangs_up(strategy: str, settings: Mapping[str, Any]) -> bool:
    """True when a Stop is the client's own hanging up: it sends no abort and ends its own stream."""
    return strategy in (DISCONNECT, FLOOR) or settings.get("abort_by") == "hangup"


def is_special(scenario: str) -> bool:
    """True for what proves the instrument: floor and calibration are in no ranking, comparison or list of cases."""
    return scenario in (FLOOR, CALIBRATION)


def is_contender(strategy: str) -> bool:
    """True for a way of delivering aborts: what a reader may choose from."""
    return strategy not in (NONE, DISCONNECT)
