"""The signals that stop the service; imports little, so that they can be handled from the first moment."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from types import FrameType

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
TEMPORARY: list[str] = []
"""Folders of this process, to be removed when it leaves at once."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_stop(handler: Callable[[int, FrameType | None], object]) -> None:
    """Have `handler` called at each of STOP_SIGNALS; SIGHUP stays ignored where it was (nohup)."""
    for signum in STOP_SIGNALS:
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def leave_at_once(_signum: int, _frame: FrameType | None) -> None:
    """Exit with code 0 while no worker serves yet: nothing is pending that could be ended in order.

    An exception would wait for a name server or a store that does not answer.
    """
    for folder in TEMPORARY:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
