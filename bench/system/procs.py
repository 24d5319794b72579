"""Child processes: start, wait until ready, notice their death, measure their CPU, end them with all they started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.system.cpu_time import tree_cpu_ns
from bench.system.environment import clean
from bench.system.reaper import REAPER, signal_group

READY_DEADLINE_S = 30.0
STOP_DEADLINE_S = 8.0
KILL_DEADLINE_S = 1.0
LOG_LINES = 8


class ChildError(Exception):
    """A child could not start or died; the first line says which and why, then the last lines of its log."""


class Child:
    """`python -m <arguments>` in a session of its own, from entering to leaving the block; stderr goes to its log.

    It gets a clean environment (bench/system/environment.py) and `env`.
    With `ready=True` entering waits for a line `ready URL` on its stdout, which becomes `url`.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        ready: bool = True,
        folder: Path | None = None,
        deadline_s: float = READY_DEADLINE_S,
    ) -> None:
        self.name = name
        self.log = log
        self.url = ""
        self._arguments = [sys.executable, "-m", *arguments]
        self._env = {**clean(), **(env or {})}
        self._waits = ready
        self._folder = folder
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise ChildError(f"{self.name} has not been started")
        return self._process

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._waits else log,
                stderr=log,
                env=self._env,
                cwd=self._folder,  # `python -m` takes the modules of the folder it is started in
                start_new_session=True,  # Ctrl-C goes to us alone, and we can signal the whole group
            )
        try:
            REAPER.watch_group(self._process.pid)
            if self._waits:
                self.url = self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_ready(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None  # noqa: S101 - asked for above
        deadline = time.monotonic() + self._deadline_s
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            said = b""
            while b"\n" not in said:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._failure(f"was not ready after {self._deadline_s:g} s")
                block = os.read(stdout.fileno(), 4096)
                if not block:
                    self.process.wait()
                    raise self._failure(f"ended with exit code {self.process.returncode} before it was ready")
                said += block
        word, _, url = said.split(b"\n")[0].decode().partition(" ")
        if word != "ready" or not url.startswith("http"):
            raise self._failure(f"said {said.decode(errors='replace').strip()!r} instead of `ready URL`")
        return url.strip()

    def check(self) -> None:
        """Raise ChildError when the process has ended although nobody asked it to."""
        code = self.process.poll()
        if code is not None:
            raise self._failure(f"died with exit code {code}")

    def _failure(self, what: str) -> ChildError:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        tail = [f"  {line}" for line in text.splitlines()[-LOG_LINES:]]
        return ChildError("\n".join([f"{self.name} {what}; its log is {self.log}", *tail]))

    def cpu_s(self) -> float:
        """User and system time so far, of the process and everything it started, in seconds."""
        return tree_cpu_ns(self.process.pid) / 1e9

    def stop(self) -> None:
        """SIGTERM, after 8 s SIGKILL, in each case until nobody of its group is left."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_DEADLINE_S)
        deadline = time.monotonic() + KILL_DEADLINE_S
        while signal_group(process.pid, signal.SIGKILL) and time.monotonic() < deadline:
            process.poll()  # reaped, it no longer counts; who is left outlived its parent
            time.sleep(0.005)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        REAPER.forget_group(process.pid)
