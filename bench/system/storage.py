"""Files that can no longer be written in the middle of a measurement: a full disk, a quota, a read-only file system."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.system.procs import ChildError

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
SPARE_BYTES = 64 * 1024
"""With less room than this, processes that die are taken to have died of it."""


class StorageError(ChildError):
    """Nothing more can be written; the message is one line: cause, what is kept, next step. A measurement ends here."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of a full or read-only disk within the block into StorageError; `folder` is the run's.

    Also a ChildError of a process that ended because its disk was full.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in ERRORS:
            raise
        raise StorageError(_message(folder, error.strerror or str(error), error.filename)) from error
    except ChildError as error:
        if full := next((place for place in (folder, Path(tempfile.gettempdir())) if _is_full(place)), None):
            raise StorageError(_message(folder, os.strerror(errno.ENOSPC), str(full))) from error
        raise


def _message(folder: Path, cause: str, place: object) -> str:
    kept = f"finished cases are kept: make report RUN_DIR={folder}" if (folder / "cases.jsonl").exists() else ""
    advice = "free some space, or choose another place with --results or TMPDIR"
    return "; ".join(filter(None, (f"{place or folder} cannot be written ({cause}): {advice}", kept)))


def _is_full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < SPARE_BYTES
    except OSError:
        return False
