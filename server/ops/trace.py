"""Measurements inside the service as JSON lines: the times of each chat and abort, and each worker's health."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import IO

from server.settings import SettingError


@dataclass(slots=True)
class ChatTrace:
    """Times of one chat in CLOCK_MONOTONIC nanoseconds; None for a phase that was not reached."""

    request_id: str
    received_ns: int = field(default_factory=monotonic_ns)
    registered_ns: int | None = None
    first_byte_ns: int | None = None  # the upstream's first events, with or without text
    first_text_ns: int | None = None
    signal_ns: int | None = None
    upstream_closed_ns: int | None = None
    ended_ns: int | None = None
    finish_reason: str | None = None
    chunks: int = 0


@dataclass(slots=True)
class AbortTrace:
    """Times of one abort in CLOCK_MONOTONIC nanoseconds, and its outcome."""

    request_id: str
    received_ns: int = field(default_factory=monotonic_ns)
    recorded_ns: int | None = None
    outcome: str = "error"


@dataclass(slots=True)
class HealthTrace:
    """A worker's health in an interval (CLOCK_MONOTONIC ns): event-loop lag, longest garbage collection.

    The lags are None if the interval has no samples.
    """

    from_ns: int
    to_ns: int
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    lag_max_ms: float | None
    gc_max_ms: float


_KINDS = {ChatTrace: "chat", AbortTrace: "abort", HealthTrace: "health"}


class Tracer:
    """Appends traces to `<folder>/<pid>.jsonl`, one line each; without a folder it does nothing.

    Raises `SettingError`.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file: IO[str] | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            reason = error.strerror or error
            raise SettingError(f"setting TRACE_DIR: {folder} cannot be written ({reason}); choose another") from error

    @property
    def enabled(self) -> bool:
        """Whether traces are written."""
        return self._file is not None

    def write(self, trace: ChatTrace | AbortTrace | HealthTrace) -> None:
        """Append one line."""
        if self._file is not None:
            line = {"kind": _KINDS[type(trace)], "pid": os.getpid(), **asdict(trace)}
            self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
