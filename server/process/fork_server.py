"""The fork server: one process imports everything once, and all workers are forked from it."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from multiprocessing import forkserver, resource_tracker, util

from uvicorn import _subprocess

from server.process.stop_signals import STOP_SIGNALS, TEMPORARY

PRELOADED = "server.process.preload"


def start_fork_server() -> None:
    """Start the fork server; it imports PRELOADED while the caller goes on.

    Elsewhere than on Linux every worker imports for itself, as in uvicorn: macOS frameworks do not survive a fork.
    """
    if sys.platform == "linux":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOADED])
        _subprocess.spawn = context  # type: ignore[assignment]  # uvicorn has no setting for it
        # A signal to the whole process group, as from systemd or a terminal, must not end the fork server: it reports
        # the workers' exits. It inherits the blocked signals. The tracker starts first, as it unblocks them. Blocked,
        # they also cannot interrupt between the creation of the folder and its entry in TEMPORARY.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            forkserver.ensure_running()
            TEMPORARY.append(util.get_temp_dir())  # it contains the fork server's socket
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
