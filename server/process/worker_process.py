"""A worker process, and the slot that it fills."""

from __future__ import annotations

import signal
import socket
import sys
from dataclasses import dataclass

from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import Server
from uvicorn.supervisors.multiprocess import Process

from server.process import startup_report
from server.process.bounded_server import BoundedServer
from server.process.stop_signals import STOP_SIGNALS


class WorkerProcess(Process):
    """uvicorn's worker process with a BoundedServer; it reports why it cannot start."""

    @property
    def server(self) -> Server:
        """The server, created in the worker."""
        if self._server is None:
            self._server = BoundedServer(config=self.config)
        return self._server

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Run in the new process: serve until SIGTERM or SIGINT."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor gets it, too, and drains this worker
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # the fork server blocks them: it must outlive us
        startup_report.send = self.child_conn.send
        try:
            super().target(sockets)
        except Exception as error:
            if self.server.started:
                raise
            startup_report.report(error)
            sys.exit(STARTUP_FAILURE)


@dataclass
class WorkerSlot:
    """State that survives a worker's replacement: its socket with the waiting connections. Times are monotonic."""

    socket: socket.socket
    worker: WorkerProcess | None = None
    serving: bool = False
    since_s: float = 0.0  # since when it serves, or starts
    pinged: bool = False
    due_s: float = 0.0  # when to start it, to ping it, or to stop waiting for its answer
    failures: int = 0
    cause: str = ""
