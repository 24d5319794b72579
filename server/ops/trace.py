"""The service's side of a measurement, as JSON lines: when each phase of a chat or abort was; how the worker fared."""

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
    """One chat's moments in CLOCK_MONOTONIC nanoseconds; None where it did not come to that."""

    request_id: str
    received_ns: int = field(default_factory=monotonic_ns)
    registered_ns: int | None = None
    first_byte_ns: int | None = None  # the first events of the upstream, whatever they hold
    first_text_ns: int | None = None
    signal_ns: int | None = None
    upstream_closed_ns: int | None = None
    ended_ns: int | None = None
    finish_reason: str | None = None
    chunks: int = 0


@dataclass(slots=True)
class AbortTrace:
    """One abort's moments in CLOCK_MONOTONIC nanoseconds, and what became of it."""

    request_id: str
    received_ns: int = field(default_factory=monotonic_ns)
    recorded_ns: int | None = None
    outcome: str = "error"


@dataclass(slots=True)
class HealthTrace:
    """How this worker fared between two moments (CLOCK_MONOTONIC ns): lag of its event loop, longest collection.

    The lags are None when nothing was read in between.
    """

    from_ns: int
    to_ns: int
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    lag_max_ms: float | None
    gc_max_ms: float


_KINDS = {ChatTrace: "chat", AbortTrace: "abort", HealthTrace: "health"}


class Tracer:
    """Appends traces to `<folder>/<pid>.jsonl`, a line at a time; without a folder it does nothing.

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
    def on(self) -> bool:
        """Whether anything is written."""
        return self._file is not None

    def write(self, trace: ChatTrace | AbortTrace | HealthTrace) -> None:
        """Write down one finished chat or abort, or how the last second was."""
        if self._file is not None:
            line = {"kind": _KINDS[type(trace)], "pid": os.getpid(), **asdict(trace)}
            self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
