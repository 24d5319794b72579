"""The results folder: made once, written after every case, never overwritten."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench.system.git import GitError, git

# History of the record. Readers refuse a schema they do not know.
#   1  2026-11  manifest.json, chats.jsonl.gz (one row per chat: client, abort, service, witness), cases.jsonl
SCHEMA = 1

PACKAGES = (
    "aiohttp", "asyncpg", "fastapi", "gevent", "geventhttpclient", "httptools", "locust", "openai", "redis",
    "starlette", "stopwatch-chat", "uvicorn", "uvloop",
)  # fmt: skip
LATEST = "latest"
"""The newest full run that is valid."""
LATEST_OTHER = "latest-quick"
"""The newest run that is QUICK or invalid."""
SCHEDULE = "schedule.jsonl.gz"
Row = dict[str, Any]


class FolderError(Exception):
    """The results folder cannot be used; the message is one line: cause and next step."""


class Results:
    """One run's folder, `<UTC time>-<label>`; raises FolderError where it cannot be written."""

    def __init__(self, parent: Path, label: str) -> None:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9._-]+', '-', label)}"
        try:
            self.folder = _new_folder(parent.absolute(), name)
            self.logs = self.folder / "logs"
            self.logs.mkdir()
            self._scheduled: set[tuple[str, int]] = set()
        except OSError as error:
            raise FolderError(
                f"results folder {parent} cannot be written ({error.strerror or error}): choose another with --results"
            ) from error

    def write_manifest(self, manifest: Row) -> None:
        """Write manifest.json, whole or not at all."""
        scratch = self.folder / ".manifest.json.part"
        try:
            scratch.write_text(json.dumps({"schema": SCHEMA, **manifest}, indent=1) + "\n", encoding="utf-8")
            scratch.replace(self.folder / "manifest.json")
        except OSError:
            with suppress(OSError):
                scratch.unlink()
            raise

    def append(self, chats: Iterable[Row], case: Row) -> None:
        """Add a finished case: first its chats (one gzip member, so the file is whole after each case), then itself.

        Raises OSError where that cannot be written, for example on a full disk; then the files are what they were.
        """
        rows = "".join(json.dumps({"schema": SCHEMA, **chat}) + "\n" for chat in chats)
        packed, line = gzip.compress(rows.encode(), compresslevel=3), json.dumps(case).encode() + b"\n"
        with _appended(self.folder / "chats.jsonl.gz", packed), _appended(self.folder / "cases.jsonl", line):
            pass

    def append_schedule(self, scenario: str, block: int, chats: list[Row]) -> None:
        """Keep when the chats of a scenario were to be sent and stopped in a block; the strategies share it."""
        if (scenario, block) in self._scheduled:
            return
        row = json.dumps({"scenario": scenario, "block": block, "chats": chats}) + "\n"
        with _appended(self.folder / SCHEDULE, gzip.compress(row.encode(), compresslevel=3)):
            self._scheduled.add((scenario, block))


def check_writable(folder: Path) -> None:
    """Make the folder if it is absent. Raises FolderError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FolderError(
            f"results folder {folder} cannot be written ({error.strerror or error}): choose another with --results"
        ) from error


def publish(folder: Path, *, full: bool) -> None:
    """Let `latest` (`latest-quick` unless `full`: neither QUICK nor invalid) point to this run.

    Readers see the old folder or this one, never neither.
    """
    name = LATEST if full else LATEST_OTHER
    scratch = folder.parent / f".{name}-{folder.name}"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(folder.name)
    scratch.replace(folder.parent / name)


@contextmanager
def _appended(path: Path, data: bytes) -> Iterator[None]:
    """Append to the file; when that fails, or the block does, cut the file back to what it was."""
    size = path.stat().st_size if path.exists() else None
    try:
        with path.open("ab", buffering=0) as file:
            rest = memoryview(data)
            while rest:  # a full disk takes a part of a write before it refuses the next one
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
    """Two runs may start in the same second."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{name} is taken a thousand times")


def utc_now() -> str:
    """The time of day, for people; durations are measured with another clock."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def describe_host() -> Row:
    """The machine a number was measured on; `cpus` are those this process may use, `cpu` their model."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpus": len(affinity(0)) if affinity else os.cpu_count(),
        "cpu": _cpu_model(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
    }


def other_machine(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In what two hosts differ, as `cpus is 4 there, 2 here`; empty where they are alike in all that both records have.

    What only one of them has is no difference: older records have no `cpu`.
    """
    keys = [key for key in there if key in here and there[key] != here[key]]
    return "; ".join(f"{key} is {there[key]} there, {here[key]} here" for key in keys)


def _cpu_model() -> str:
    """As the processor names itself; empty where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() == "model name":
                return value.strip()
    return platform.processor()


def describe_versions() -> dict[str, str]:
    """The packages that take part in the measurement."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe_commit(folder: Path = Path(__file__).parent) -> tuple[str | None, bool | None]:
    """Commit and whether there are uncommitted changes; (None, None) outside a checkout or without git."""
    try:
        return git(folder, "rev-parse", "HEAD"), bool(git(folder, "status", "--porcelain"))
    except GitError:
        return None, None
