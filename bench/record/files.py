"""Write files so that a reader never sees a half of one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write the file, whole or not at all. Raises OSError, for example on a full disk; then it is what it was."""
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink()
        raise
