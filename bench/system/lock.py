"""One measurement at a time on a machine: two that share the cores would both be wrong."""

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from bench.workload.scenario import PlanError

VARIABLE = "BENCH_LOCK"
"""Another lock file, for tests and for benches that are started by a bench."""
FILE = "stopwatch-bench.lock"


class BusyError(PlanError):
    """Another measurement is running; the message is one line with its process id."""


@contextmanager
def only_bench() -> Iterator[None]:
    """Hold this machine's lock within the block. Raises BusyError immediately when another process holds it.

    The kernel releases the lock when its process ends, so a left-over lock file blocks nothing.
    """
    path = Path(os.environ.get(VARIABLE) or Path(tempfile.gettempdir()) / FILE)
    try:
        descriptor = _open(path)
    except OSError as error:
        sys.stderr.write(
            f"bench: note: {path} cannot be locked ({error.strerror}): "
            f"make sure that no other bench runs, or name another file in {VARIABLE}\n"
        )
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"another bench runs here ({_holder(path)}): wait until it has ended, or stop it; "
                "two at once would disturb each other"
            ) from None
        _write_holder(descriptor)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:  # another user's file in a shared temporary folder can be locked, but not written
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with suppress(OSError):
        os.fchmod(descriptor, 0o666)
    return descriptor


def _write_holder(descriptor: int) -> None:
    started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    record = {"pid": os.getpid(), "command": " ".join(sys.argv[1:2]), "started_utc": started}
    with suppress(OSError):  # on a full disk the lock still holds
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(record).encode(), 0)


def _holder(path: Path) -> str:
    """`pid 4711, run, started 2026-...`, or `pid unknown` when the file is unreadable or its process has ended."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        pid, command, started = int(record["pid"]), str(record["command"]), str(record["started_utc"])
        with suppress(PermissionError):
            os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return "pid unknown"
    return ", ".join(filter(None, (f"pid {pid}", command[:20], f"started {started[:20]}")))
