"""The folder through which the workers share their metrics, and the removal of those that a killed service left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "stopwatch-metrics-"
OWNER = "owner"
"""A file in the folder, locked for as long as its supervisor lives: the kernel unlocks it, however that process ends.

Not a process id: another container that shares the folder for temporary files has other ids.
"""


@contextmanager
def metrics_folder() -> Iterator[str]:
    """A new folder, removed at the end; also removes those whose owner is gone. Raises OSError."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        unlocked = Path(folder, "new")
        with unlocked.open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            unlocked.rename(Path(folder, OWNER))  # nobody sees the file before it is locked
            yield folder


def _remove_abandoned() -> None:
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
        with suppress(OSError):  # somebody else's, or still locked
            if owner.parent.is_symlink() or owner.stat().st_uid != os.getuid():
                continue
            with owner.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(owner.parent, ignore_errors=True)
