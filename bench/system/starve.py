"""Starves the load on purpose: on one core with others that never rest. A run like that must be called invalid."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

BURNERS = 4
"""The load then gets a fifth of its core, and waits for the others whenever it wakes."""


@contextlib.contextmanager
def starved(pids: Sequence[int]) -> Iterator[None]:
    """These processes share one core with BURNERS, within the block. Linux only: raises OSError elsewhere."""
    if not hasattr(os, "sched_setaffinity"):
        raise OSError("only Linux can pin a process to a core")
    core = {min(os.sched_getaffinity(0))}
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), core)
    code = f"import os\nos.sched_setaffinity(0, {core})\nwhile os.getppid() == {os.getpid()}: pass"
    # Each in a session of its own, as the load is: Linux shares a core out among sessions first (autogroups), so that
    # all burners in one would together get no more than half of it.
    burn = [sys.executable, "-I", "-S", "-c", code]
    burners = [subprocess.Popen(burn, start_new_session=True) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
