"""Write a results folder: made once, added to after every case, never overwritten."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from bench.record.base import encode_file, encode_line
from bench.record.files import replace_file
from bench.record.manifest import Manifest, ScheduleRow
from bench.record.schema import CaseRow, ChatRow

LATEST = "latest"
"""The newest full run that is valid."""
LATEST_OTHER = "latest-quick"
"""The newest run that is QUICK or invalid."""
SCHEDULE = "schedule.jsonl.gz"


class FolderError(Exception):
    """The results folder cannot be used; the message is one line: cause and next step."""


class Results:
    """The folder of one run, `<UTC time>-<label>`. Raises FolderError where it cannot be written."""

    def __init__(self, parent: Path, label: str) -> None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9._-]+', '-', label)}"
        try:
            self.folder = _new_folder(parent.absolute(), name)
            self.logs = self.folder / "logs"
            self.logs.mkdir()
            self._scheduled: set[tuple[str, int]] = set()
        except OSError as error:
            raise _cannot_write(parent, error) from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Write manifest.json, whole or not at all."""
        replace_file(self.folder / "manifest.json", encode_file(manifest))

    def append(self, chats: Iterable[ChatRow], case: CaseRow) -> None:
        """Add a finished case: its chats (one gzip member, so the file is whole after each case), then itself.

        Raises OSError, for example on a full disk; then the files are what they were.
        """
        packed = gzip.compress(b"".join(map(encode_line, chats)), compresslevel=3)
        cases = _appended(self.folder / "cases.jsonl", encode_line(case))
        with _appended(self.folder / "chats.jsonl.gz", packed), cases:
            pass

    def append_schedule(self, row: ScheduleRow) -> None:
        """Add the schedule of a scenario in a block, once: the strategies share it."""
        if (row.scenario, row.block) not in self._scheduled:
            with _appended(self.folder / SCHEDULE, gzip.compress(encode_line(row), compresslevel=3)):
                self._scheduled.add((row.scenario, row.block))


def check_writable(folder: Path) -> None:
    """Make the folder if it is absent. Raises FolderError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _cannot_write(folder, error) from error


def publish(folder: Path, *, full: bool) -> None:
    """Let `latest` (`latest-quick` unless `full`: neither QUICK nor invalid) point to this run, in one step."""
    name = LATEST if full else LATEST_OTHER
    scratch = folder.parent / f".{name}-{folder.name}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(folder.name)
    scratch.replace(folder.parent / name)


def _cannot_write(folder: Path, error: OSError) -> FolderError:
    cause = error.strerror or error
    return FolderError(f"results folder {folder} cannot be written ({cause}): choose another with --results")


@contextmanager
def _appended(path: Path, data: bytes) -> Iterator[None]:
    """Append to the file; if that or the block fails, truncate the file to its former size."""
    size = path.stat().st_size if path.exists() else None
    try:
        with path.open("ab", buffering=0) as file:
            rest = memoryview(data)
            while rest:  # a full disk accepts a part of a write before it refuses the next one
                rest = rest[file.write(rest) :]
        yield
    except BaseException:
        with suppress(OSError):
            if size is None:
                path.unlink()
            else:
                os.truncate(path, size)
        raise


def _new_folder(parent: Path, name: str) -> Path:
    """Make a folder of this name, numbered if it exists: two runs may start in the same second."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{parent / name} exists, and so do 998 numbered ones")
