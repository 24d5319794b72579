"""Refusals: errors of a store that answers but takes no writes. Their log, and the check for them at start."""

from __future__ import annotations

import logging
import secrets
import time

from backends.base import Chat, Store

LOG = logging.getLogger("backends")
LOG_INTERVAL_S = 60.0


class RefusalLog:
    """Logs refusals after the store has started (before, they are raised); the same message once in 60 s."""

    def __init__(self) -> None:
        self.started = False
        self._logged_s: dict[str, float] = {}

    def warn(self, message: str) -> None:
        """Log the message unless it was logged within the last 60 s."""
        now_s = time.monotonic()
        if self.started and self._logged_s.get(message, -LOG_INTERVAL_S) <= now_s - LOG_INTERVAL_S:
            self._logged_s = {each: at_s for each, at_s in self._logged_s.items() if at_s > now_s - LOG_INTERVAL_S}
            self._logged_s[message] = now_s
            LOG.warning("%s", message)


async def check_rights(store: Store) -> None:
    """Use every right that the store needs, on a temporary record. Raises `StoreUnavailableError`."""
    chat = Chat(f"probe-{secrets.token_hex(8)}", secrets.token_hex(8), "probe", "probe")
    await store.register(chat)
    try:
        await store.flag(chat.request_id, chat.owner, remember=False)
        await store.states([chat])
        await store.renew([chat])
    finally:
        await store.release(chat)
