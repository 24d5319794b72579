"""The reaper: a small process that ends what a killed bench left behind (process groups, temporary folders).

A `finally` does not run after SIGKILL, PR_SET_PDEATHSIG fires when a *thread* ends and is lost under `unshare`, and
neither deletes a folder. The reaper holds the reading end of a pipe and cleans up as soon as the pipe closes.
This file is both ends; the program uses the standard library only and runs with -I -S to start fast.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GRACE_S = 5.0


class Reaper:
    """Our end of the pipe; the process is started at the first use and ends with us."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def watch(self, target: int | Path, sig: int = signal.SIGTERM) -> None:
        """Should this process die, send `sig` to this process group, and SIGKILL after 5 s; or delete this folder."""
        self._send(target, int(sig))

    def forget(self, target: int | Path) -> None:
        """The process group has ended or the folder has been deleted; the system may use a group's id again."""
        self._send(target, None)

    def _send(self, target: int | Path, sig: int | None) -> None:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                command = [sys.executable, "-I", "-S", __file__]
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
                atexit.register(self._close)
            assert self._process.stdin is not None  # noqa: S101 - asked for above
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps([target if isinstance(target, int) else str(target), sig]) + "\n")
                self._process.stdin.flush()

    def _close(self) -> None:
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


REAPER = Reaper()


def signal_group(group: int, sig: int) -> bool:
    """Signal a process group; False when it has no process left."""
    try:
        os.killpg(group, sig)
    except (ProcessLookupError, PermissionError):  # macOS raises EPERM for a group of zombies
        return False
    return True


def _clean_up(watched: dict[int | str, int]) -> None:
    alive = {group for group, sig in watched.items() if isinstance(group, int) and signal_group(group, sig)}
    deadline = time.monotonic() + GRACE_S
    while alive and time.monotonic() < deadline:
        time.sleep(0.02)
        alive = {group for group in alive if signal_group(group, 0)}
    for group in alive:
        signal_group(group, signal.SIGKILL)
    for folder in (each for each in watched if isinstance(each, str)):
        shutil.rmtree(folder, ignore_errors=True)


def _main() -> None:
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)  # the reaper has to outlive the bench
    watched: dict[int | str, int] = {}
    for line in sys.stdin:
        target, sig = json.loads(line)
        watched.pop(target, None)
        if sig is not None:
            watched[target] = sig
    _clean_up(watched)


if __name__ == "__main__":
    _main()
