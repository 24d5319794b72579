"""How many chats and connections the limit on open files allows, so that a Stop always finds a descriptor free.

A chat holds two: its client's connection and its upstream's. When they run out, not even a Stop can be accepted.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

SPARE = 32
"""For the store's connections, lookups and whatever else is opened while the service runs."""
USED_AT_START = 40
"""About what a worker holds before its first chat."""
FEW_CHATS = 1000
_INFINITE = 1 << 20


@dataclass(frozen=True)
class Budget:
    """What the open files of one worker are used for, at most."""

    limit: int
    chats: int
    """Live chats; with two descriptors each they take three quarters of what is free."""
    connections: int
    """Clients' connections; beyond it the one that has been idle for longest is closed."""

    def warning(self) -> str | None:
        """One line for the user if the limit is low; None if it is not."""
        if self.chats >= FEW_CHATS:
            return None
        return (
            f"the limit of {self.limit} open files allows {self.chats} live chats per worker: raise it with "
            "`ulimit -n 65536` before the start (LimitNOFILE= under systemd)"
        )


def open_files() -> int:
    """How many descriptors this process holds now."""
    try:
        return len(os.listdir("/dev/fd")) - 1  # noqa: PTH208 - one of them is the listing's own
    except OSError:
        return USED_AT_START


def budget(used: int) -> Budget:
    """Share what the process's limit leaves free when `used` descriptors are open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = _INFINITE if limit == resource.RLIM_INFINITY else limit
    free = max(limit - used - SPARE, 8)
    chats = free * 3 // 8
    return Budget(limit, chats, free - chats)
