"""CPU time below the resolution of a tick, of a whole tree, including ended threads."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from bench.system.cpu_time import tree_cpu_ns

BURN = "sum(range(2_000_000))"
THREAD = f"import threading; thread = threading.Thread(target=lambda: {BURN}); thread.start(); thread.join()"


@contextmanager
def running(program: str) -> Iterator[int]:
    """A process that has run the program, and waits."""
    command = [sys.executable, "-c", f"{program}\nprint(flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the CPU clock of another process is Linux's")
def test_its_resolution_is_below_a_tick_and_it_agrees_with_psutil() -> None:
    with running(BURN) as pid:
        times = psutil.Process(pid).cpu_times()
        found_ns = tree_cpu_ns(pid)
        assert found_ns % 10_000_000 != 0
        assert abs(found_ns / 1e9 - times.user - times.system) < 0.05  # two ticks, and what it does after printing


def test_ended_threads_are_included() -> None:
    before_ns = time.process_time_ns()
    exec(BURN)  # its CPU time in this process
    took_ns = time.process_time_ns() - before_ns
    with running("pass") as idle, running(THREAD) as busy:
        assert tree_cpu_ns(busy) - tree_cpu_ns(idle) > took_ns / 3


def test_children_are_included() -> None:
    child = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', '{BURN}; input()'], stdin=-1)"
    with running(child) as pid:
        (one,) = psutil.Process(pid).children()
        both_ns, one_ns = tree_cpu_ns(pid), tree_cpu_ns(one.pid)
        assert both_ns > one_ns > 0
        one.kill()


def test_without_the_clock_psutil_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(BURN) as pid:
        exact_ns = tree_cpu_ns(pid)
        monkeypatch.setattr(sys, "platform", "darwin")
        assert abs(tree_cpu_ns(pid) - exact_ns) < 50_000_000
        assert tree_cpu_ns(pid) % 10_000_000 == 0
