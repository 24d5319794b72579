"""Files that can no longer be written in the middle of a measurement: a full disk, a quota, a read-only file system."""

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
"""With less free space than this, the early end of a process is attributed to the full disk."""


class StorageError(ChildError):
    """Files can no longer be written, and the measurement ends; one line: cause, what is kept, next step."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of a full or read-only disk within the block into StorageError; `folder` is the run's.

    A ChildError of a process that ended because its disk was full is turned into one too.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in ERRORS:
            raise
        raise _error(folder, error.strerror or str(error), error.filename) from error
    except ChildError as error:
        if full := next((place for place in (folder, Path(tempfile.gettempdir())) if _is_full(place)), None):
            raise _error(folder, os.strerror(errno.ENOSPC), str(full)) from error
        raise


def _error(folder: Path, cause: str, place: object) -> StorageError:
    kept = f"; finished cases are kept: make report RUN_DIR={folder}" if (folder / "cases.jsonl").exists() else ""
    advice = "free some space, or choose another place with --results or TMPDIR"
    return StorageError(f"{place or folder} cannot be written ({cause}): {advice}{kept}")


def _is_full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < SPARE_BYTES
    except OSError:
        return False
