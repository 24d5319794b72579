"""One server program on a loopback port: start, wait until it answers, stop, kill, start again."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.system.environment import clean
from bench.system.procs import start_process
from bench.system.reaper import REAPER

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 10.0
NOBODY = 65534


class StoreError(Exception):
    """A store could not be started or reached; the message is one line without a password."""


def free_port() -> int:
    """A loopback port that no process is listening on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def temporary_folder(label: str) -> Iterator[Path]:
    """A folder that is deleted afterwards, also when this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=f"stopwatch-{label}-"))
    REAPER.watch(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        REAPER.forget(folder)


@dataclass(frozen=True)
class RunAsUser:
    """How to run a program that refuses root: a prefix to its command, or another user for its process."""

    prefix: tuple[str, ...] = ()
    user: int | None = None

    def chown(self, path: Path) -> None:
        """Give the path to the user of the program; in a user namespace it already belongs to it."""
        if self.user is not None:
            os.chown(path, self.user, self.user)

    def popen_arguments(self) -> dict[str, Any]:
        """The arguments for subprocess that change the user."""
        return {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}


@functools.cache
def unprivileged() -> RunAsUser:
    """For root a user namespace where it is permitted, else the user `nobody`; for others no change."""
    if os.geteuid() != 0:
        return RunAsUser()
    prefix = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return RunAsUser(prefix=prefix)
    return RunAsUser(user=NOBODY)


@dataclass
class EmbeddedServer:
    """A server whose port stays the same from start to start.

    `ready` connects once and raises while the server is not there yet.
    """

    name: str
    url: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], None]
    stop_signal: int = signal.SIGTERM
    popen: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server's process (the last one, when it has been stopped)."""
        if self._process is None:
            raise StoreError(f"{self.name} has not been started")
        return self._process

    def start(self) -> None:
        """Start and wait until `ready` succeeds. Raises StoreError with the last line of the server's log."""
        self._process = start_process(
            self.command, self.log, env=clean(), stop_signal=self.stop_signal, cwd=self.log.parent, **self.popen
        )
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                self.ready()
            except Exception as error:  # each driver has its own exception for "not yet"
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise StoreError(f"{self.name} did not start: {self._last_line() or error}") from error
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """Send the stop signal, after 10 s SIGKILL; no effect when the server has ended."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server and its helpers with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, sig: int) -> None:
        if self._process is None:
            return
        helpers = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(sig)
            self._process.send_signal(signal.SIGCONT)  # tests stop it with SIGSTOP
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for helper in helpers:  # PostgreSQL does not start again while one of them holds the shared memory
            with contextlib.suppress(psutil.NoSuchProcess):
                helper.kill()
        psutil.wait_procs(helpers, STOP_DEADLINE_S)
        REAPER.forget(self._process.pid)

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same port."""
        self.stop()
        self.start()

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
