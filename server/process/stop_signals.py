"""The signals that stop the service; imports little, so that they are handled early."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from types import FrameType

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
TEMPORARY: list[str] = []
"""Folders of this process that `exit_at_once` removes."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def handle_stop_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Install `handler` for STOP_SIGNALS; SIGHUP stays ignored if it was (nohup)."""
    for signum in STOP_SIGNALS:
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def exit_at_once(_signum: int, _frame: FrameType | None) -> None:
    """Exit with code 0 before any worker serves: there is nothing to drain.

    An exception would wait for a name server or a store that does not answer.
    """
    for folder in TEMPORARY:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
