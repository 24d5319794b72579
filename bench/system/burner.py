"""Processes that use all of a core: `python -m bench.system.burner` alone, or several beside the load (`--starve`)."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

BURNERS = 4
"""The load then gets a fifth of its core, and waits for the burners whenever it becomes runnable."""


@contextlib.contextmanager
def starved(pids: Sequence[int]) -> Iterator[None]:
    """Pin these processes to one core together with BURNERS within the block. Linux only: raises OSError elsewhere."""
    if not hasattr(os, "sched_setaffinity"):
        raise OSError("only Linux can pin a process to a core")
    core = {min(os.sched_getaffinity(0))}
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), core)
    code = f"import os\nos.sched_setaffinity(0, {core})\nwhile os.getppid() == {os.getpid()}: pass"
    # Linux divides a core among sessions first (autogroups): burners in one session would share half of the core.
    burn = [sys.executable, "-I", "-S", "-c", code]
    burners = [subprocess.Popen(burn, start_new_session=True) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


if __name__ == "__main__":
    while True:
        pass
