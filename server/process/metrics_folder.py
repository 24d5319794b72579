"""The folder in which the workers share their metrics, and the removal of folders of killed services."""

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
"""A file in the folder, locked while its supervisor lives: the kernel unlocks it, however that process ends.

A process id would not do: containers that share a temporary folder have separate ids.
"""


@contextmanager
def metrics_folder() -> Iterator[str]:
    """Create a folder and remove it at the end; also remove folders whose owner is gone. Raises OSError."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        unlocked = Path(folder, "new")
        with unlocked.open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            unlocked.rename(Path(folder, OWNER))  # the file appears under its name only when it is locked
            yield folder


def _remove_abandoned() -> None:
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
        with suppress(OSError):  # another user's, or still locked
            if owner.parent.is_symlink() or owner.stat().st_uid != os.getuid():
                continue
            with owner.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(owner.parent, ignore_errors=True)
