"""The limit on how often each owner may start chats."""

from __future__ import annotations

from time import monotonic

BURST_S = 1.0
"""An owner that has started nothing for a while may start this time's chats at once, and at least one."""
_ROUNDING_S = 1e-6


class StartRate:
    """Token buckets by owner, each stored as the time at which it is full again (GCRA); `per_s` of 0 is no limit."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s if per_s else 0.0
        self._full_s: dict[str, float] = {}  # at most one entry per API key

    def take(self, owner: str) -> float:
        """Count a start and return 0.0, or return the seconds until the owner may start again."""
        if not self._interval_s:
            return 0.0
        now_s = monotonic()
        full_s = max(self._full_s.get(owner, 0.0), now_s) + self._interval_s
        wait_s = full_s - now_s - max(BURST_S, self._interval_s)
        if wait_s > _ROUNDING_S:
            return wait_s
        self._full_s[owner] = full_s
        return 0.0
