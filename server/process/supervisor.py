"""Starts the workers, replaces those that die, and drains them at the end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import typer
import uvicorn
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.multiprocess import mark_process_dead

from server.ops.logs import LOG
from server.process.stop_signals import METRICS_FOLDER, handle_stop_signals
from server.process.worker_process import WorkerProcess, WorkerSlot

CANNOT_START = 4
FORK_SERVER_DIED = 255
"""multiprocessing's exit code for a worker whose parent, the fork server, has died."""
START_S = 60.0
"""A worker that does not serve after this time is killed."""
STARTING_PING_S, SERVING_PING_S = 0.05, 1.0
"""Interval of the pings: before the worker serves, and afterwards."""
HUNG_S = 5.0
"""A serving worker that does not answer a ping for this time (stopped, or blocked in C code) is killed."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 2.0
STABLE_S = 10.0
"""A worker that served for this time is replaced at once when it dies, without back-off."""
KILL_AFTER_DRAIN_S = 5.0
"""Workers are killed this time after the end of the drain."""
SECOND_SIGNAL_S, FORCED_DRAIN_S = 0.5, 2.0
"""A stop signal this time after the first (make and its group send two at once) limits the drain to FORCED_DRAIN_S."""


class Supervisor:
    """Keeps one worker in each slot until a stop signal.

    uvicorn's own supervisor ends the whole service when a replacement cannot start, lets replacements listen on every
    socket, and checks for signals only twice a second.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], *, drain_s: float) -> None:
        self._config = config
        self._drain_s = drain_s
        self._sockets = sockets
        self._slots = [WorkerSlot(sockets[number % len(sockets)]) for number in range(config.workers)]
        self._announced = False
        self._code: int | None = None
        self._stops_s: list[float] = []
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        registry = CollectorRegistry()  # the values are shared through files, whatever the registry
        self._deaths = Counter("stopwatch_worker_deaths", "Workers that died while they served", registry=registry)
        self._failed_starts = Counter(
            "stopwatch_worker_failed_starts",
            "Replacements that could not start, and are tried again",
            registry=registry,
        )

    def run(self) -> int:
        """Serve until stopped; returns the exit code. Not 0: the first start failed, with one line on stderr."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        handle_stop_signals(self._stop)
        try:
            while self._code is None and not self._stops_s:
                for slot in self._slots:
                    self._check(slot)
                self._announce()
                running = [slot.worker for slot in self._slots if slot.worker]
                self._wait(running, min(slot.due_s for slot in self._slots))
        finally:
            self._end()
        return self._code or 0

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        self._stops_s.append(monotonic())

    def _check(self, slot: WorkerSlot) -> None:
        """Start, ping, replace or kill the worker of a slot, whatever is due."""
        worker, now_s = slot.worker, monotonic()
        if worker is None:
            if now_s >= slot.due_s:
                self._start(slot)
            return
        while worker.parent_conn.poll():
            self._receive(slot, worker.parent_conn.recv())
        if worker.exitcode is not None:
            self._handle_exit(slot, worker)
        elif now_s < slot.due_s:
            pass
        elif slot.pinged or (not slot.serving and now_s - slot.since_s > START_S):
            slot.cause = slot.cause or "a worker does not answer"
            slot.due_s = now_s + HUNG_S
            worker.process.kill()
        else:
            worker.parent_conn.send(b"ping")  # uvicorn's worker answers whether it serves
            slot.pinged, slot.due_s = True, now_s + (HUNG_S if slot.serving else START_S)

    def _start(self, slot: WorkerSlot) -> None:
        slot.serving, slot.pinged, slot.cause = False, False, ""
        slot.since_s = slot.due_s = monotonic()
        try:
            slot.worker = WorkerProcess(self._config, [slot.socket])
            slot.worker.start()
        except (OSError, EOFError) as error:  # no process or descriptor available
            slot.worker = None
            slot.cause = f"a worker cannot be started: {error or type(error).__name__}"
            self._retry_start(slot)

    def _receive(self, slot: WorkerSlot, answer: object) -> None:
        now_s = monotonic()
        if isinstance(answer, str):
            slot.cause = answer
            return
        slot.pinged = False
        if answer and not slot.serving:
            slot.serving, slot.since_s = True, now_s
            if self._announced:
                LOG.warning("worker replaced", extra={"pid": slot.worker and slot.worker.pid})
        slot.due_s = now_s + (SERVING_PING_S if slot.serving else STARTING_PING_S)

    def _handle_exit(self, slot: WorkerSlot, worker: WorkerProcess) -> None:
        """Log and count a worker that has ended, and schedule its replacement."""
        pid, code = worker.pid, worker.exitcode or 0
        if code == FORK_SERVER_DIED:  # the fork server died; the worker may live on, on its successor's socket
            with suppress(ProcessLookupError):
                os.kill(pid or 0, signal.SIGKILL)
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # its live gauges
        worker.parent_conn.close()
        worker.child_conn.close()
        slot.worker, slot.due_s = None, 0.0
        ended = f"signal {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        if not slot.serving:
            slot.cause = slot.cause or f"a worker ended with {ended} before it served"
            for file in Path(os.environ[METRICS_FOLDER]).glob(f"*_{pid}.db"):
                file.unlink(missing_ok=True)  # they hold no values, and may become many
            self._retry_start(slot)
            return
        if monotonic() - slot.since_s >= STABLE_S:
            slot.failures = 0
        self._deaths.inc()
        retry_s = self._back_off(slot)
        extra = {"pid": pid, "signal": _signal_name(-code)} if code < 0 else {"pid": pid, "exit_code": code}
        LOG.error("worker died", extra={**extra, "cause": slot.cause or ended, "retry_s": retry_s})

    def _retry_start(self, slot: WorkerSlot) -> None:
        """Schedule another start after a failed one; end the service if no worker has served yet."""
        if self._announced:
            self._failed_starts.inc()
            retry_s = self._back_off(slot)
            LOG.error("worker cannot start", extra={"cause": slot.cause, "retry_s": retry_s})
        elif self._code is None and not self._stops_s:
            typer.echo(f"server: {slot.cause}", err=True)
            self._code = CANNOT_START

    def _back_off(self, slot: WorkerSlot) -> float:
        """Set when the next start is due; returns seconds from now, 0 for the first."""
        retry_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(slot.failures - 1, 10)) if slot.failures else 0.0
        slot.failures += 1
        slot.due_s = monotonic() + retry_s
        listens = slot.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if retry_s and len(self._sockets) > 1 and listens:
            # No worker accepts from this socket now: shut down, it gets no connections, and the other workers get all
            # new ones. The next worker's listen() restores it. (A second shutdown, while it does not listen, would be
            # inherited by every later connection.)
            slot.socket.shutdown(socket.SHUT_RD)
        return retry_s

    def _announce(self) -> None:
        if not self._announced and all(slot.serving for slot in self._slots):
            self._announced = True
            host, port = self._sockets[0].getsockname()[:2]
            with suppress(OSError):  # stdout is closed
                sys.stdout.write(f"ready http://{f'[{host}]' if ':' in host else host}:{port}\n")
                sys.stdout.flush()

    def _wait(self, workers: list[WorkerProcess], until_s: float) -> None:
        """Return at `until_s`, or earlier at a signal, an answer or a worker's end."""
        events: list[Any] = [self._wake]
        for worker in workers:
            events += [worker.process.sentinel, worker.parent_conn]
        wait(events, max(0.0, until_s - monotonic()))
        with suppress(BlockingIOError):
            self._wake.recv(4096)

    def _end(self) -> None:
        """Drain all workers; kill those that do not end in time."""
        for listener in self._sockets:
            listener.close()  # each worker closes its own, too: then new connections are refused at once
        running = [slot.worker for slot in self._slots if slot.worker]
        for worker in running:
            worker.process.terminate()
        kill_s = monotonic() + self._drain_s + KILL_AFTER_DRAIN_S
        forced = False
        while running := [worker for worker in running if worker.exitcode is None]:
            if not forced and self._stops_s and self._stops_s[-1] - self._stops_s[0] >= SECOND_SIGNAL_S:
                forced, kill_s = True, min(kill_s, monotonic() + FORCED_DRAIN_S)
                for worker in running:
                    os.kill(worker.pid or 0, signal.SIGINT)  # uvicorn cancels everything that still runs
            if monotonic() >= kill_s:
                for worker in running:
                    worker.process.kill()
                kill_s = monotonic() + KILL_AFTER_DRAIN_S
            for worker in running:
                while worker.parent_conn.poll():
                    worker.parent_conn.recv()
            self._wait(running, kill_s)


def _signal_name(signum: int) -> str:
    with suppress(ValueError):
        return signal.Signals(signum).name
    return str(signum)
