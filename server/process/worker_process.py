"""A worker as a process, and the place that it has among the others."""

from __future__ import annotations

import signal
import socket
import sys
from dataclasses import dataclass

from uvicorn.config import STARTUP_FAILURE

from server.process import starting
from server.process.serving import ServingProcess
from server.process.stopping import STOP_SIGNALS


class Worker(ServingProcess):
    """uvicorn's worker process, which reports why it cannot start."""

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Run in the new process: serve until SIGTERM or SIGINT."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor gets it, too, and ends us in order
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # the fork server holds them back: it must outlive us
        starting.send = self.child_conn.send
        try:
            super().target(sockets)
        except Exception as error:
            if self.server.started:
                raise
            starting.report(error)
            sys.exit(STARTUP_FAILURE)


@dataclass
class Place:
    """What stays when a worker is replaced: its socket, with the connections that wait in it. Times are monotonic."""

    socket: socket.socket
    worker: Worker | None = None
    serves: bool = False
    since_s: float = 0.0  # it serves, or it has been starting
    asked: bool = False
    due_s: float = 0.0  # when to start it, to ask it, or to give up waiting for its answer
    failures: int = 0
    cause: str = ""
