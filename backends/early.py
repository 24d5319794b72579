"""Aborts that came before their chats: how many this worker lets the store remember, so that nobody can fill it."""

from __future__ import annotations

import time


class EarlyAborts:
    """At most `most` at a time, each for `remember_s`; the same one again keeps its place."""

    def __init__(self, most: int, remember_s: float) -> None:
        self._most = most
        self._remember_s = remember_s
        self._until_s: dict[tuple[str, str], float] = {}  # by owner and request id, those that end first come first

    def reserve(self, owner: str, request_id: str) -> bool:
        """Whether this abort may be remembered should it be an early one; its place is kept for it from now on."""
        now_s = time.monotonic()
        while self._until_s and next(iter(self._until_s.values())) < now_s:
            del self._until_s[next(iter(self._until_s))]
        key = owner, request_id
        if key not in self._until_s and len(self._until_s) >= self._most:
            return False
        self._until_s.pop(key, None)  # to the end: it is remembered anew
        self._until_s[key] = now_s + self._remember_s
        return True

    def give_back(self, owner: str, request_id: str) -> None:
        """It was not an early one, or nobody knows."""
        self._until_s.pop((owner, request_id), None)
