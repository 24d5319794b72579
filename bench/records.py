"""The results folder: made once, written after every case, never overwritten."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

# History of the record. Readers refuse a schema they do not know.
#   1  2026-11  manifest.json, chats.jsonl.gz (one row per chat: client, abort, service, witness), cases.jsonl
SCHEMA = 1

PACKAGES = (
    "aiohttp", "asyncpg", "fastapi", "gevent", "geventhttpclient", "httptools", "locust", "openai", "redis",
    "starlette", "stopwatch-chat", "uvicorn", "uvloop",
)  # fmt: skip
LATEST = "latest"
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
        scratch.write_text(json.dumps({"schema": SCHEMA, **manifest}, indent=1) + "\n", encoding="utf-8")
        scratch.replace(self.folder / "manifest.json")

    def append(self, chats: Iterable[Row], case: Row) -> None:
        """Add a finished case: first its chats (one gzip member, so the file is whole after each case), then itself."""
        with gzip.open(self.folder / "chats.jsonl.gz", "at", encoding="utf-8", compresslevel=3) as lines:
            lines.writelines(json.dumps({"schema": SCHEMA, **chat}) + "\n" for chat in chats)
        with (self.folder / "cases.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(case) + "\n")

    def append_schedule(self, scenario: str, block: int, chats: list[Row]) -> None:
        """Keep when the chats of a scenario were to be sent and stopped in a block; the strategies share it."""
        if (scenario, block) in self._scheduled:
            return
        self._scheduled.add((scenario, block))
        with gzip.open(self.folder / SCHEDULE, "at", encoding="utf-8", compresslevel=3) as lines:
            lines.write(json.dumps({"scenario": scenario, "block": block, "chats": chats}) + "\n")

    def publish(self) -> None:
        """Let `latest` point here; readers see the old folder or this one, never neither."""
        scratch = self.folder.parent / f".{LATEST}-{self.folder.name}"
        scratch.unlink(missing_ok=True)
        scratch.symlink_to(self.folder.name)
        scratch.replace(self.folder.parent / LATEST)


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
    """The machine a number was measured on; `cpus` are those this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpus": len(affinity(0)) if affinity else os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
    }


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
        commit = _git(folder, "rev-parse", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
