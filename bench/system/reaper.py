"""The watchman: a small process that ends what a killed bench left behind (process groups, temporary folders).

A `finally` does not run after SIGKILL, PR_SET_PDEATHSIG fires when a *thread* ends and is lost under `unshare`, and
neither deletes a folder. So one helper holds the reading end of a pipe: when the pipe closes, however we died, it acts.
This file is both ends: the class for our side, and the program (standard library only, run with -I -S to start fast).
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

    def watch_group(self, group: int, sig: int = signal.SIGTERM) -> None:
        """From now on the process group gets `sig`, then SIGKILL after 5 s, should this process die."""
        self._tell({"group": group, "signal": int(sig)})

    def forget_group(self, group: int) -> None:
        """The group has ended; its id may be used again by somebody else."""
        self._tell({"group": group, "signal": None})

    def watch_folder(self, folder: Path) -> None:
        """From now on the folder is deleted, should this process die."""
        self._tell({"folder": str(folder), "keep": False})

    def forget_folder(self, folder: Path) -> None:
        """The folder is gone already."""
        self._tell({"folder": str(folder), "keep": True})

    def _tell(self, message: dict[str, object]) -> None:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                atexit.register(self._leave)
            assert self._process.stdin is not None  # noqa: S101 - asked for above
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()

    def _leave(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        self._process = None


REAPER = Reaper()


def signal_group(group: int, sig: int) -> bool:
    """Signal a process group; False when nobody is left in it."""
    try:
        os.killpg(group, sig)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        return False
    return True


def _clean_up(groups: dict[int, int], folders: set[str]) -> None:
    alive = {group for group, sig in groups.items() if signal_group(group, sig)}
    deadline = time.monotonic() + GRACE_S
    while alive and time.monotonic() < deadline:
        time.sleep(0.02)
        alive = {group for group in alive if signal_group(group, 0)}
    for group in alive:
        signal_group(group, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _main() -> None:
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)  # we outlive the bench, or we are useless
    groups: dict[int, int] = {}
    folders: set[str] = set()
    for line in sys.stdin:
        message = json.loads(line)
        if "group" in message and message["signal"] is None:
            groups.pop(message["group"], None)
        elif "group" in message:
            groups[message["group"]] = message["signal"]
        elif message["keep"]:
            folders.discard(message["folder"])
        else:
            folders.add(message["folder"])
    _clean_up(groups, folders)


if __name__ == "__main__":
    _main()
