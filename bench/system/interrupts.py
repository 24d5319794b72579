"""What ends a bench early: a signal, or the end of the `make` that started it."""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

AGAIN_S = 0.5
"""A signal that follows sooner is the same one: make forwards a signal that its whole process group has received."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP; an ignored SIGHUP (nohup) stays ignored."""
    last_s = -AGAIN_S

    def interrupt(signum: int, _frame: object) -> None:
        nonlocal last_s
        before_s, last_s = last_s, time.monotonic()
        if last_s - before_s >= AGAIN_S:
            raise KeyboardInterrupt(signum)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, interrupt)


def end_with_make() -> None:
    """Receive SIGTERM when the `make` that started this is killed and cannot forward a signal. Linux only."""
    parent = os.getppid()
    with contextlib.suppress(OSError):  # no /proc, no prctl
        if Path(f"/proc/{parent}/comm").read_text().strip() in ("make", "gmake"):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it ended just before
                os.kill(os.getpid(), signal.SIGTERM)
