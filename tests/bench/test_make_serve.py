"""`make serve` ended by each signal that a user or a supervisor sends: all processes that it started end."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bench.system.interrupts import AGAIN_S, interrupt_on_signals

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
DEADLINE_S = 60
TOP = Path(__file__).parents[2]


@pytest.fixture
def make() -> Iterator[psutil.Process]:
    """`make serve` after its greeting, on this interpreter's environment instead of .venv."""
    command = ["make", "-o", ".venv/.ready", f"RUN={sys.executable}", "serve", "BACKEND=memory", "PORT=0", "ARGS="]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "MAKE", "MFLAGS"))}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=TOP, env=env, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert any("wait_ms" in line for line in process.stdout)  # the greeting's last line
        yield psutil.Process(process.pid)
        process.kill()


def serve_process(make: psutil.Process) -> int:
    return make.children()[0].pid


def make_process(make: psutil.Process) -> int:
    return make.pid


def process_group(make: psutil.Process) -> int:
    return -make.pid


@pytest.mark.parametrize(
    ("receiver", "signum"),
    [
        (make_process, signal.SIGTERM),
        pytest.param(
            make_process,
            signal.SIGKILL,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent"),
        ),
        (serve_process, signal.SIGKILL),
        (process_group, signal.SIGTERM),
        (process_group, signal.SIGHUP),
    ],
)
def test_no_process_is_left(
    make: psutil.Process, receiver: Callable[[psutil.Process], int], signum: signal.Signals
) -> None:
    started = make.children(recursive=True)
    assert len(started) > 4  # serve, guard, mock, supervisor and worker
    os.kill(receiver(make), signum)
    _, alive = psutil.wait_procs(started, DEADLINE_S)
    assert alive == []


def test_two_signals_at_once_interrupt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """make forwards a signal that the whole group also received; the second one must not interrupt the clean-up."""
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    kept = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        interrupt_on_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        now_s += AGAIN_S
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)


def test_every_command_of_a_target_replaces_its_shell() -> None:
    lines = [line for line in (TOP / "Makefile").read_text().splitlines() if "$(RUN) -m" in line and "pip" not in line]
    assert [line for line in lines if "exec $(RUN) -m " not in line] == []
