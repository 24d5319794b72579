"""One server process of our own on a loopback port: start, wait until it answers, stop, kill, start again."""

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
from bench.system.reaper import REAPER

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 10.0
NOBODY = 65534


class StoreError(Exception):
    """A store could not be started or reached; the message is one line without a password."""


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def temporary_folder(label: str) -> Iterator[Path]:
    """A folder that is gone afterwards, also when this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=f"stopwatch-{label}-"))
    REAPER.watch_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        REAPER.forget_folder(folder)


@dataclass(frozen=True)
class RunAsUser:
    """How to run a program that refuses root: a prefix to its command, or another user for its process."""

    prefix: tuple[str, ...] = ()
    user: int | None = None

    def chown(self, folder: Path) -> None:
        """Make the folder belong to whoever the program will be; a user namespace needs nothing."""
        if self.user is not None:
            os.chown(folder, self.user, self.user)

    def popen_arguments(self) -> dict[str, Any]:
        """The arguments for subprocess that change the user."""
        return {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}


@functools.cache
def unprivileged() -> RunAsUser:
    """The first way that works here; containers often forbid user namespaces, then root becomes `nobody` outright."""
    if os.geteuid() != 0:
        return RunAsUser()
    prefix = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return RunAsUser(prefix=prefix)
    return RunAsUser(user=NOBODY)


@dataclass
class EmbeddedServer:
    """A running server; `restart` keeps the port, so that clients can be watched through a fault.

    `ready` connects once and raises while the server is not there yet. `process` is the server itself, to be signalled.
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
        """Start and wait until a client gets an answer; raises StoreError with the server's last log line."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env=clean(),
                start_new_session=True,
                **self.popen,
            )
        REAPER.watch_group(self._process.pid, self.stop_signal)
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                self.ready()
            except Exception as error:  # every driver has its own words for "not yet"
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise StoreError(f"{self.name} did not start: {self._last_line() or error}") from error
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """End the server in order (SIGKILL after 10 s); nothing to do when it has ended already."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)  # a test may have frozen it
            self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        REAPER.forget_group(self._process.pid)

    def kill(self) -> None:
        """End the server as a crash would: SIGKILL, no goodbye to its clients."""
        if self._process is None:
            return
        # With its helpers: PostgreSQL refuses to start again while one of them still holds the shared memory.
        helpers = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        for helper in helpers:
            with contextlib.suppress(psutil.NoSuchProcess):
                helper.kill()
        psutil.wait_procs(helpers, STOP_DEADLINE_S)
        REAPER.forget_group(self._process.pid)

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same port."""
        self.stop()
        self.start()

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
