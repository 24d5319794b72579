"""Starts the workers, replaces those that die, and ends all of them in order."""

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
from server.process.stopping import METRICS_FOLDER, on_stop
from server.process.worker_process import Place, Worker

CANNOT_START = 4
NO_FORK_SERVER = 255
"""multiprocessing's exit code for a worker whose parent, the fork server, has died."""
START_S = 60.0
"""A worker that does not serve after this is killed."""
STARTING_LOOK_S, SERVING_LOOK_S = 0.05, 1.0
"""How often a worker is asked whether it serves: before it does, and afterwards."""
HUNG_S = 5.0
"""A worker that serves and does not answer for so long (stopped, or stuck in C code) is killed."""
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.1, 2.0
STEADY_S = 10.0
"""A worker that has served for so long is replaced at once when it dies, and not after a growing wait."""
BEYOND_DRAIN_S = 5.0
"""Workers are killed so long after the drain should have ended."""
AGAIN_S, FORCED_S = 0.5, 2.0
"""A stop signal so long after the first one (make and its group send two at once) leaves the workers FORCED_S."""


class Supervisor:
    """Keeps one worker in each place until a stop signal comes.

    Not uvicorn's own: that one ends the whole service when a replacement cannot start, lets replacements listen on
    every socket, and looks for signals twice a second.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], *, drain_s: float) -> None:
        self._config = config
        self._drain_s = drain_s
        self._sockets = sockets
        self._places = [Place(sockets[number % len(sockets)]) for number in range(config.workers)]
        self._announced = False
        self._code: int | None = None
        self._stops_s: list[float] = []
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        registry = CollectorRegistry()  # the values are shared through files whatever the registry
        self._deaths = Counter("stopwatch_worker_deaths", "Workers that died while they served", registry=registry)
        self._failed_starts = Counter(
            "stopwatch_worker_failed_starts",
            "Replacements that could not start, and are tried again",
            registry=registry,
        )

    def run(self) -> int:
        """Serve until stopped; the exit code. Not 0: the first start failed, and one line on stderr has said why."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        on_stop(self._stop)
        try:
            while self._code is None and not self._stops_s:
                for place in self._places:
                    self._attend(place)
                self._announce()
                living = [place.worker for place in self._places if place.worker]
                self._wait(living, min(place.due_s for place in self._places))
        finally:
            self._end()
        return self._code or 0

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        self._stops_s.append(monotonic())

    def _attend(self, place: Place) -> None:
        """Do what is due in a place."""
        worker, now_s = place.worker, monotonic()
        if worker is None:
            if now_s >= place.due_s:
                self._start(place)
            return
        while worker.parent_conn.poll():
            self._take(place, worker.parent_conn.recv())
        if worker.exitcode is not None:
            self._replace(place, worker)
        elif now_s < place.due_s:
            pass
        elif place.asked or (not place.serves and now_s - place.since_s > START_S):
            place.cause = place.cause or "a worker does not answer"
            place.due_s = now_s + HUNG_S
            worker.process.kill()
        else:
            worker.parent_conn.send(b"ping")  # uvicorn's worker answers whether it serves
            place.asked, place.due_s = True, now_s + (HUNG_S if place.serves else START_S)

    def _start(self, place: Place) -> None:
        place.serves, place.asked, place.cause = False, False, ""
        place.since_s = place.due_s = monotonic()
        try:
            place.worker = Worker(self._config, [place.socket])
            place.worker.start()
        except (OSError, EOFError) as error:  # no process or descriptor to be had
            place.worker = None
            place.cause = f"a worker cannot be started: {error or type(error).__name__}"
            self._try_again(place)

    def _take(self, place: Place, answer: object) -> None:
        now_s = monotonic()
        if isinstance(answer, str):
            place.cause = answer
            return
        place.asked = False
        if answer and not place.serves:
            place.serves, place.since_s = True, now_s
            if self._announced:
                LOG.warning("worker replaced", extra={"pid": place.worker and place.worker.pid})
        place.due_s = now_s + (SERVING_LOOK_S if place.serves else STARTING_LOOK_S)

    def _replace(self, place: Place, worker: Worker) -> None:
        """Account for a worker that has ended, and have another started in its place."""
        pid, code = worker.pid, worker.exitcode or 0
        if code == NO_FORK_SERVER:  # its parent died; it may still live, on the socket of its successor
            with suppress(ProcessLookupError):
                os.kill(pid or 0, signal.SIGKILL)
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # what it counted as live
        worker.parent_conn.close()
        worker.child_conn.close()
        place.worker, place.due_s = None, 0.0
        how = f"signal {_name(-code)}" if code < 0 else f"exit code {code}"
        if not place.serves:
            place.cause = place.cause or f"a worker ended with {how} before it served"
            for file in Path(os.environ[METRICS_FOLDER]).glob(f"*_{pid}.db"):
                file.unlink(missing_ok=True)  # it counted nothing, and there may be many of them
            self._try_again(place)
            return
        if monotonic() - place.since_s >= STEADY_S:
            place.failures = 0
        self._deaths.inc()
        retry_s = self._back_off(place)
        extra = {"pid": pid, "signal": _name(-code)} if code < 0 else {"pid": pid, "exit_code": code}
        LOG.error("worker died", extra={**extra, "cause": place.cause or how, "retry_s": retry_s})

    def _try_again(self, place: Place) -> None:
        """Have a start that failed repeated later, unless nothing has served yet: then end."""
        if self._announced:
            self._failed_starts.inc()
            retry_s = self._back_off(place)
            LOG.error("worker cannot start", extra={"cause": place.cause, "retry_s": retry_s})
        elif self._code is None and not self._stops_s:
            typer.echo(f"server: {place.cause}", err=True)
            self._code = CANNOT_START

    def _back_off(self, place: Place) -> float:
        """Set when the next start is due, in seconds from now: the first is at once."""
        retry_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(place.failures - 1, 10)) if place.failures else 0.0
        place.failures += 1
        place.due_s = monotonic() + retry_s
        listens = place.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if retry_s and len(self._sockets) > 1 and listens:
            # Nobody would accept what the kernel gives this socket: now it refuses, and the others get all new
            # connections. The next worker's listen() brings it back. (A second shutdown, when it no longer listens,
            # would be inherited by every later connection.)
            place.socket.shutdown(socket.SHUT_RD)
        return retry_s

    def _announce(self) -> None:
        if not self._announced and all(place.serves for place in self._places):
            self._announced = True
            host, port = self._sockets[0].getsockname()[:2]
            with suppress(OSError):  # nobody reads it
                sys.stdout.write(f"ready http://{f'[{host}]' if ':' in host else host}:{port}\n")
                sys.stdout.flush()

    def _wait(self, workers: list[Worker], until_s: float) -> None:
        """Return at that time, or when a signal, an answer or a death is there."""
        events: list[Any] = [self._wake]
        for worker in workers:
            events += [worker.process.sentinel, worker.parent_conn]
        wait(events, max(0.0, until_s - monotonic()))
        with suppress(BlockingIOError):
            self._wake.recv(4096)

    def _end(self) -> None:
        """Have every worker drain and end; kill those that do not."""
        for listener in self._sockets:
            listener.close()  # each worker closes its own: from then on connections are refused, and do not wait
        living = [place.worker for place in self._places if place.worker]
        for worker in living:
            worker.process.terminate()
        kill_s = monotonic() + self._drain_s + BEYOND_DRAIN_S
        forced = False
        while living := [worker for worker in living if worker.exitcode is None]:
            if not forced and self._stops_s and self._stops_s[-1] - self._stops_s[0] >= AGAIN_S:
                forced, kill_s = True, min(kill_s, monotonic() + FORCED_S)
                for worker in living:
                    os.kill(worker.pid or 0, signal.SIGINT)  # uvicorn: cancel everything that still runs
            if monotonic() >= kill_s:
                for worker in living:
                    worker.process.kill()
                kill_s = monotonic() + BEYOND_DRAIN_S
            for worker in living:
                while worker.parent_conn.poll():
                    worker.parent_conn.recv()
            self._wait(living, kill_s)


def _name(signum: int) -> str:
    with suppress(ValueError):
        return signal.Signals(signum).name
    return str(signum)
