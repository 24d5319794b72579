"""What `doctor` has to try out: the clock, timers, other work and the loopback, each in about a second."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import psutil

from bench.analysis.health import MAX_SCHEDULE_MS, MAX_STEAL, WARN_STEAL
from bench.system.environment import clean

WATCH_S = 1.0
QUIET_CORES = 0.2
"""Others may use so much of all cores together before it is worth a word."""
NEEDED_CORES = 1.5
"""What must be left: with less, load and mock wait for each other however little the service does."""
SLEEPS, SLEEP_MS = 100, 10
PINGS = 1000
SLOW_SLEEP_MS, SLOW_PING_MS, BROKEN_PING_MS = 1.0, 0.3, 2.0
CHILD_DEADLINE_S = 20.0

_ASYNCIO = """
import asyncio, time, uvloop
async def main():
    for _ in range({count}):
        due = time.monotonic() + {seconds}
        await asyncio.sleep({seconds})
        print((time.monotonic() - due) * 1e3)
uvloop.run(main())
"""
# Only bench/load may import gevent: this program runs in a process of its own.
_GEVENT = """
import gevent, time
for _ in range({count}):
    due = time.monotonic() + {seconds}
    gevent.sleep({seconds})
    print((time.monotonic() - due) * 1e3)
"""
_CLOCK = """
import sys, time
for _ in sys.stdin:
    print(time.monotonic_ns(), flush=True)
"""


@dataclass(frozen=True)
class Check:
    """One question. `ok`: True fine, False would make a run invalid, None cannot be told or costs exactness only."""

    name: str
    ok: bool | None
    found: str
    fix: str = ""


def clock(program: str = _CLOCK) -> Check:
    """CLOCK_MONOTONIC is one clock for all processes: a child's stamp lies between two of ours, each time."""
    name, fix = "one clock", "run everything in one container: time namespaces (/proc/PID/ns/time) must be the same"
    with _child(program) as process:
        assert process.stdin is not None  # noqa: S101 - asked for
        assert process.stdout is not None  # noqa: S101 - asked for
        rounds_ns = []
        for _ in range(20):
            before_ns = time.monotonic_ns()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"\n")
            said = process.stdout.readline()
            after_ns = time.monotonic_ns()
            if not said:
                return Check(name, False, "the child gave no stamp", "`make setup`, or free this machine")
            if not before_ns <= int(said) <= after_ns:
                return Check(name, False, f"a child's stamp is {(int(said) - before_ns) / 1e9:+.1f} s off ours", fix)
            rounds_ns.append(after_ns - before_ns)
    return Check(name, True, f"20 stamps of a child lie between ours, within {min(rounds_ns) / 1e3:.0f} us")


def timers() -> Iterator[Check]:
    """How late sleeps come back in the loops that we use: the mock's and the service's, and the load's."""
    yield timer("asyncio (uvloop)", _ASYNCIO)
    yield timer("gevent", _GEVENT)


def timer(name: str, program: str) -> Check:
    """How late sleeps of 10 ms come back in a child: what every planned moment is off by."""
    title = f"timer, {name}"
    out = b""
    with (
        contextlib.suppress(subprocess.TimeoutExpired),
        _child(program.format(count=SLEEPS, seconds=SLEEP_MS / 1e3)) as process,
    ):
        out, _ = process.communicate(timeout=CHILD_DEADLINE_S)
    late_ms = sorted(float(line) for line in out.split())
    if len(late_ms) != SLEEPS:
        return Check(title, False, f"{len(late_ms)} of {SLEEPS} sleeps came back", "`make setup`, or free this machine")
    p50_ms, p99_ms = median(late_ms), late_ms[-2]
    says = f"{SLEEPS} sleeps of {SLEEP_MS} ms: {p50_ms:.2f} ms late, p99 {p99_ms:.2f} ms"
    if p99_ms > MAX_SCHEDULE_MS:
        fix = f"stop other work, or another machine: a load that sends more than {MAX_SCHEDULE_MS:g} ms late is invalid"
        return Check(title, False, says, fix)
    if p50_ms > SLOW_SLEEP_MS:
        return Check(title, None, says, "a power-saving mode or a small virtual machine: plug in, or use another")
    return Check(title, True, says)


def competition(cores: float) -> Check:
    """Who else works on our cores: how much in all, and the one who does most, by name and never by its arguments."""
    before, busy_before = _cpu_s(), _busy_s()
    began_ns = time.monotonic_ns()
    time.sleep(WATCH_S)
    took_s = (time.monotonic_ns() - began_ns) / 1e9
    after, busy = _cpu_s(), (_busy_s() - busy_before) / took_s
    used = {pid: (cpu_s - before[pid][1], name) for pid, (name, cpu_s) in after.items() if pid in before}
    used.pop(os.getpid(), None)
    pid, (most_s, name) = max(used.items(), key=lambda each: each[1], default=(0, (0.0, "nobody")))
    says = f"{busy:.2f} of {cores:g} cores busy with others (load average {os.getloadavg()[0]:.1f})"
    if busy <= QUIET_CORES:
        return Check("other work", True, says)
    if most_s > 0:
        says += f"; most by {name} (process {pid}): {most_s / took_s:.0%} of a core"
    fix = f"stop {name if most_s > 0 else 'what runs outside this container'}, or wait until it is done"
    return Check("other work", None if cores - busy >= NEEDED_CORES else False, says, fix)


def steal() -> Check:
    """CPU time that the host takes from this virtual machine."""
    before = psutil.cpu_times()
    time.sleep(WATCH_S)
    after = psutil.cpu_times()
    all_s = sum(after) - sum(before)
    share = (getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)) / all_s if all_s > 0 else 0.0
    says = f"{share:.1%} of the CPU time taken by the host"
    if share <= WARN_STEAL:
        return Check("steal", True, says)
    return Check("steal", None if share <= MAX_STEAL else False, says, "another machine or hour: this host is busy")


def loopback() -> Check:
    """A byte to another thread and back over TCP: the least that any request here takes."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def echo() -> None:
            with far:
                while data := far.recv(1):
                    far.sendall(data)

        thread = threading.Thread(target=echo)
        thread.start()
        took_ms = []
        for _ in range(PINGS):
            sent_ns = time.monotonic_ns()
            near.sendall(b"x")
            near.recv(1)
            took_ms.append((time.monotonic_ns() - sent_ns) / 1e6)
        near.shutdown(socket.SHUT_WR)
        thread.join()
    took_ms.sort()
    p50_ms, p99_ms = median(took_ms), took_ms[PINGS * 99 // 100]
    says = f"round trip {p50_ms:.3f} ms, p99 {p99_ms:.3f} ms"
    fine = True if p50_ms <= SLOW_PING_MS else (None if p50_ms <= BROKEN_PING_MS else False)
    return Check("loopback", fine, says, "" if fine else "a firewall, VPN or virus scanner on loopback? switch it off")


@contextlib.contextmanager
def _child(program: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", program]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, env=clean(), bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def _cpu_s() -> dict[int, tuple[str, float]]:
    """Name, and user and system seconds, of every process that lets us look."""
    return {
        process.pid: (process.info["name"] or "?", process.info["cpu_times"].user + process.info["cpu_times"].system)
        for process in psutil.process_iter(["name", "cpu_times"])
        if process.info["cpu_times"] is not None
    }


def _busy_s() -> float:
    """Seconds that the cores we may use have worked: containers do not show the processes of others."""
    affinity = getattr(os, "sched_getaffinity", None)
    ours = affinity(0) if affinity else None
    return sum(
        times.user + times.system + getattr(times, "nice", 0.0) + getattr(times, "irq", 0.0)
        + getattr(times, "softirq", 0.0)
        for number, times in enumerate(psutil.cpu_times(percpu=True))
        if ours is None or number in ours
    )  # fmt: skip
