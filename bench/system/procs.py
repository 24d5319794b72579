"""Child processes: start, wait until ready, notice an early end, measure their CPU, end them with all descendants."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from bench.system.cpu_time import tree_cpu_ns
from bench.system.environment import clean
from bench.system.reaper import REAPER, signal_group

READY_DEADLINE_S = 30.0
STOP_DEADLINE_S = 8.0
KILL_DEADLINE_S = 1.0
LOG_LINES = 8


class ChildError(Exception):
    """A child did not start or ended early; the first line is the process and the cause, then its last log lines."""


def start_process(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str],
    stop_signal: int = signal.SIGTERM,
    stdout: int | IO[bytes] | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a program in its own session, so that Ctrl-C does not reach it and its whole group can be signalled.

    stderr, and stdout unless given, are appended to `log`. The reaper ends the group should this process die.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file if stdout is None else stdout,
            stderr=file,
            env=env,
            start_new_session=True,
            **options,
        )
    REAPER.watch(process.pid, stop_signal)
    return process


@dataclass(eq=False)
class Child:
    """`python -m <arguments>`, or `argv`, from entering to leaving the block; its stderr is appended to `log`.

    Its environment is environment.clean() and `env`; `folder` is the one it takes its modules from.
    With `ready=True` entering waits for a line `ready URL` on its stdout, which becomes `url`. Raises ChildError.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    _: KW_ONLY
    env: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True
    folder: Path | None = None
    argv: Sequence[str] = ()
    deadline_s: float = READY_DEADLINE_S
    url: str = field(default="", init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise ChildError(f"{self.name} has not been started")
        return self._process

    @property
    def pid(self) -> int | None:
        """The process; None for a service of which nothing is known."""
        return self.process.pid

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = start_process(
            self.argv or [sys.executable, "-m", *self.arguments],
            self.log,
            env={**clean(), **self.env},
            stdout=subprocess.PIPE if self.ready else None,
            cwd=self.folder,
        )
        try:
            if self.ready:
                self.url = self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_ready(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None  # noqa: S101 - asked for above
        deadline = time.monotonic() + self.deadline_s
        output = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in output:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self.failure(f"was not ready after {self.deadline_s:g} s")
                block = os.read(stdout.fileno(), 4096)
                if not block:
                    raise self.failure(f"ended with exit code {self.process.wait()} before it was ready")
                output += block
        word, _, url = output.split(b"\n")[0].decode(errors="replace").partition(" ")
        if word != "ready" or not url.startswith("http"):
            raise self.failure(f"printed {output.decode(errors='replace').strip()!r} instead of `ready URL`")
        return url.strip()

    def check(self) -> None:
        """Raise ChildError when the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise self.failure(f"died with exit code {code}")

    def failure(self, what: str) -> ChildError:
        """The error of a process that did not do what it should, with the end of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        tail = [f"  {line}" for line in text.splitlines()[-LOG_LINES:]]
        return ChildError("\n".join([f"{self.name} {what}; its log is {self.log}", *tail]))

    def cpu_s(self) -> float:
        """User and system time so far, of the process and all its descendants, in seconds."""
        return tree_cpu_ns(self.process.pid) / 1e9

    def stop(self) -> None:
        """Send SIGTERM, after 8 s SIGKILL, and wait until its process group is empty."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_DEADLINE_S)
        deadline = time.monotonic() + KILL_DEADLINE_S
        while signal_group(process.pid, signal.SIGKILL) and time.monotonic() < deadline:
            process.poll()  # a reaped process no longer counts as a member of its group
            time.sleep(0.005)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        REAPER.forget(process.pid)
