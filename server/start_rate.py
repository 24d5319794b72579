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

    def wait_s(self, owner: str) -> float:
        """Return the seconds until the owner may start again; 0.0 if it may start now."""
        if not self._interval_s:
            return 0.0
        now_s = monotonic()
        wait_s = self._next_full_s(owner, now_s) - now_s - max(BURST_S, self._interval_s)
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def take(self, owner: str) -> float:
        """Count a start and return 0.0, or return the seconds until the owner may start again."""
        wait_s = self.wait_s(owner)
        if self._interval_s and not wait_s:
            self._full_s[owner] = self._next_full_s(owner, monotonic())
        return wait_s

    def _next_full_s(self, owner: str, now_s: float) -> float:
        """When the bucket would be full again after a start now."""
        return max(self._full_s.get(owner, 0.0), now_s) + self._interval_s
