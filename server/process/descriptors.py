"""Limits on chats and connections from the limit on open files, so that a descriptor stays free for aborts.

A chat needs two descriptors: the client's connection and the upstream's.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

RESERVED = 32
"""Descriptors for the store's connections, lookups and other files."""
USED_AT_START = 40
"""Estimate of a worker's open files before its first chat."""
LOW_CHATS = 1000
_INFINITE = 1 << 20


@dataclass(frozen=True)
class Budget:
    """Limits of one worker."""

    limit: int
    chats: int
    """Live chats; with two descriptors each they use three quarters of the free ones."""
    connections: int
    """Client connections; above this the one that has been idle for longest is closed."""

    def warning(self) -> str | None:
        """Return a one-line warning if the limit is low."""
        if self.chats >= LOW_CHATS:
            return None
        return (
            f"the limit of {self.limit} open files allows {self.chats} live chats per worker: raise it with "
            "`ulimit -n 65536` before the start (LimitNOFILE= under systemd)"
        )


def open_files() -> int:
    """Count this process's open descriptors."""
    try:
        return len(os.listdir("/dev/fd")) - 1  # noqa: PTH208 - one of them is the listing's own
    except OSError:
        return USED_AT_START


def budget(used: int) -> Budget:
    """Compute the limits when `used` descriptors are open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = _INFINITE if limit == resource.RLIM_INFINITY else limit
    free = max(limit - used - RESERVED, 8)
    chats = free * 3 // 8
    return Budget(limit, chats, free - chats)
