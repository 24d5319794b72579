"""The limit on early aborts (aborts before their chats), so that clients cannot fill the store."""

from __future__ import annotations

import time


class EarlyAborts:
    """Counts the early aborts of one worker: at most `limit` at a time, each for `remember_s`."""

    def __init__(self, limit: int, remember_s: float) -> None:
        self._limit = limit
        self._remember_s = remember_s
        self._expires_s: dict[tuple[str, str], float] = {}  # by owner and request id, in order of expiry

    def reserve(self, owner: str, request_id: str) -> bool:
        """Reserve a place in case this abort is an early one; False if the limit is reached.

        A repeated abort keeps its place and restarts its time.
        """
        now_s = time.monotonic()
        while self._expires_s and next(iter(self._expires_s.values())) < now_s:
            del self._expires_s[next(iter(self._expires_s))]
        key = owner, request_id
        if key not in self._expires_s and len(self._expires_s) >= self._limit:
            return False
        self._expires_s.pop(key, None)  # re-inserted below, at the end
        self._expires_s[key] = now_s + self._remember_s
        return True

    def cancel(self, owner: str, request_id: str) -> None:
        """Give up the reservation: the abort was not an early one, or failed."""
        self._expires_s.pop((owner, request_id), None)
