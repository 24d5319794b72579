"""When each phase of a chat and of an abort happened, as JSON lines: the service's side of a measurement."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import IO


@dataclass(slots=True)
class ChatTrace:
    """One chat's moments in CLOCK_MONOTONIC nanoseconds; None where it did not come to that."""

    request_id: str
    received_ns: int = field(default_factory=monotonic_ns)
    registered_ns: int | None = None
    first_byte_ns: int | None = None
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


class Tracer:
    """Appends traces to `<folder>/<pid>.jsonl`, a line at a time; without a folder it does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._file: IO[str] | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1, encoding="utf-8")

    def write(self, trace: ChatTrace | AbortTrace) -> None:
        """Write down one finished chat or abort."""
        if self._file is not None:
            kind = "chat" if isinstance(trace, ChatTrace) else "abort"
            self._file.write(json.dumps({"kind": kind, "pid": os.getpid(), **asdict(trace)}) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
