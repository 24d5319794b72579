"""Is this machine fit to measure on? Each check reports what it found and what to change (about 6 s in all)."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from bench.analysis.health import MAX_SCHEDULE_MS, MAX_STEAL, WARN_STEAL
from bench.system.embedded import StoreError
from bench.system.environment import URL_VARIABLES, clean
from bench.system.stores import open_store
from bench.workload.scenario import PlanError

NEEDED_MB, COMFORTABLE_MB = 500, 1000
"""Stores, mock, load, two workers and the report take about 700 MB at their peaks, which do not coincide."""
WATCH_S, CHILD_DEADLINE_S = 1.0, 20.0
QUIET_CORES, NEEDED_CORES = 0.2, 1.5
"""Other processes may use the first without a warning; without the second, load and mock wait for each other."""
SLEEPS, SLEEP_MS, PINGS = 100, 10, 1000
SLOW_SLEEP_MS, SLOW_PING_MS, BROKEN_PING_MS = 1.0, 0.3, 2.0
RERUN = "`make setup`, or free this machine"

_SLEEPS = """
    for _ in range({count}):
        due = time.monotonic() + {seconds}
        %s({seconds})
        print((time.monotonic() - due) * 1e3)
"""
# Only bench/load may import gevent: this program runs in a process of its own.
_GEVENT = "import gevent, time\ndef main():" + _SLEEPS % "gevent.sleep" + "main()"
_ASYNCIO = "import asyncio, time, uvloop\nasync def main():" + _SLEEPS % "await asyncio.sleep" + "uvloop.run(main())"
_CLOCK = "import sys, time\nfor _ in sys.stdin: print(time.monotonic_ns(), flush=True)"
_BUSY = ("user", "system", "nice", "irq", "softirq")


@dataclass(frozen=True)
class Check:
    """A check's result. `ok`: True; False if a run would be invalid; None if figures would be less exact."""

    name: str
    ok: bool | None
    found: str
    fix: str = ""


def checks(*, workers: int = 2, streams: int = 100) -> Iterator[Check]:
    """Make all checks, one after the other, for a run with these numbers of workers and simultaneous chats."""
    yield cores(workers)
    yield governor()
    yield open_files(streams)
    yield clock()
    yield timer("asyncio (uvloop)", _ASYNCIO)  # the loop of mock and service
    yield timer("gevent", _GEVENT)  # the loop of the load
    yield competition(usable_cores())
    yield steal()
    yield memory()
    yield loopback()
    yield from map(store, URL_VARIABLES)


def cores(workers: int) -> Check:
    """Cores against the processes that work at the same time: workers, mock, load."""
    count, needed = usable_cores(), workers + 2
    found = f"{count:g} cores for {needed} busy processes ({workers} workers, mock, load)"
    fix = f"WORKERS={max(1, int(count) - 2)}, or {needed} cores, for exact tails"
    if count < 2:
        fix = "use a machine with 2 cores or more: one cannot serve and measure"
    return _graded("cores", found, fix, -count, (-needed, -2))


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Cores this process may use: its affinity, or a container's quota (cgroup v2) where that is lower."""
    count = float(len(_affinity()))
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2 here, or "max"
        limit, period = quota.read_text(encoding="ascii").split()
        count = min(count, int(limit) / int(period))
    return count


def governor(folder: Path = Path("/sys/devices/system/cpu")) -> Check:
    """A governor that saves power wakes cores late."""
    names = {file.read_text(encoding="ascii").strip() for file in folder.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    found = ", ".join(sorted(names)) or "not visible here, as in most virtual machines"
    ok = True if names <= {"performance", "schedutil"} else None
    return Check("CPU governor", ok, found, "" if ok else "sudo cpupower frequency-set -g performance")


def open_files(streams: int) -> Check:
    """Each stream takes a socket in the load, two in the service, one in the mock, and its abort one more."""
    needed = 4 * streams
    soft, hard = (
        float("inf") if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    limits = ["unlimited" if limit == float("inf") else f"{limit:,}" for limit in (soft, hard)]
    found = f"{limits[0]} (at most {limits[1]}), {needed:,} needed for {streams:,} streams"
    fix = f"ulimit -n {needed}" if hard >= needed else f"raise the hard limit to {needed} (/etc/security/limits.conf)"
    return _graded("open files", found, fix, -soft, (-needed, -needed))


def clock(program: str = _CLOCK) -> Check:
    """CLOCK_MONOTONIC is one clock for all processes: a child's stamp lies between two of ours, each time."""
    name, fix = "one clock", "run everything in one container: time namespaces (/proc/PID/ns/time) must be the same"
    rounds_ns = []
    with _child(program) as process:
        assert process.stdin and process.stdout  # noqa: S101, PT018 - asked for
        for _ in range(20):
            before_ns = time.monotonic_ns()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"\n")
            stamp = process.stdout.readline()
            after_ns = time.monotonic_ns()
            if not stamp:
                return Check(name, False, "the child sent no stamp", RERUN)
            if not before_ns <= int(stamp) <= after_ns:
                return Check(name, False, f"a child's stamp is {(int(stamp) - before_ns) / 1e9:+.1f} s off ours", fix)
            rounds_ns.append(after_ns - before_ns)
    return Check(name, True, f"20 stamps of a child lie between ours, within {min(rounds_ns) / 1e3:.0f} us")


def timer(name: str, program: str) -> Check:
    """How late sleeps of 10 ms return in a child process: the error of every planned send."""
    title, out = f"timer, {name}", b""
    code = program.format(count=SLEEPS, seconds=SLEEP_MS / 1e3)
    with contextlib.suppress(subprocess.TimeoutExpired), _child(code) as process:
        out, _ = process.communicate(timeout=CHILD_DEADLINE_S)
    late_ms = sorted(float(line) for line in out.split())
    if len(late_ms) != SLEEPS:
        return Check(title, False, f"{len(late_ms)} of {SLEEPS} sleeps returned", RERUN)
    p50_ms, p99_ms = median(late_ms), late_ms[-2]
    found = f"{SLEEPS} sleeps of {SLEEP_MS} ms: {p50_ms:.2f} ms late, p99 {p99_ms:.2f} ms"
    if p99_ms > MAX_SCHEDULE_MS:
        fix = f"stop other work, or another machine: a load that sends more than {MAX_SCHEDULE_MS:g} ms late is invalid"
        return Check(title, False, found, fix)
    fix = "a power-saving mode or a small virtual machine: plug in, or use another"
    return _graded(title, found, fix, p50_ms, (SLOW_SLEEP_MS, float("inf")))


def competition(cores: float) -> Check:
    """CPU use of other processes: the sum, and the busiest one by its name (arguments may hold secrets)."""
    others = [process for process in psutil.process_iter(["name"]) if process.pid != os.getpid()]
    for process in others:
        _cpu_share(process)  # counts from here on
    busy = _busy_cores()
    shares = [(_cpu_share(process), process.pid, process.info["name"] or "?") for process in others]
    most, pid, name = max(shares, default=(0.0, 0, ""))
    found = f"{busy:.2f} of {cores:g} cores used by other processes (load average {os.getloadavg()[0]:.1f})"
    if busy > QUIET_CORES and most:
        found += f"; most by {name} (process {pid}): {most:.0%} of a core"
    fix = f"stop {name if most else 'what runs outside this container'}, or wait until it is done"
    return _graded("other work", found, fix, busy, (QUIET_CORES, cores - NEEDED_CORES))


def steal() -> Check:
    """CPU time that the host takes from this virtual machine."""
    share = getattr(psutil.cpu_times_percent(WATCH_S), "steal", 0.0) / 100
    found = f"{share:.1%} of the CPU time taken by the host"
    return _graded("steal", found, "another machine or hour: this host is busy", share, (WARN_STEAL, MAX_STEAL))


def memory() -> Check:
    """Memory that is available without swapping."""
    available_mb = psutil.virtual_memory().available / 2**20
    found, fix = f"{available_mb:,.0f} MB available", f"free {COMFORTABLE_MB:,} MB"
    return _graded("memory", found, fix, -available_mb, (-COMFORTABLE_MB, -NEEDED_MB))


def loopback() -> Check:
    """Round trip of a byte over TCP: the least that any request here takes."""
    took_ms = []
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(PINGS):
                sent_ns = time.monotonic_ns()
                near.sendall(b"x")
                far.sendall(far.recv(1))
                near.recv(1)
                took_ms.append((time.monotonic_ns() - sent_ns) / 1e6)
    p50_ms, p99_ms = median(took_ms), sorted(took_ms)[PINGS * 99 // 100]
    found, fix = f"round trip {p50_ms:.3f} ms, p99 {p99_ms:.3f} ms", "switch off firewall, VPN or scanner on loopback"
    return _graded("loopback", found, fix, p50_ms, (SLOW_PING_MS, BROKEN_PING_MS))


def store(kind: str) -> Check:
    """The store that a run would use: it starts and answers."""
    try:
        with open_store(kind) as opened:
            return Check(kind, True, f"{opened.name} {opened.version} ({opened.how})")
    except (StoreError, PlanError) as error:
        cause, _, fix = str(error).partition(": ")
        return Check(kind, False, cause, fix)


def _graded(name: str, found: str, fix: str, value: float, limits: tuple[float, float]) -> Check:
    fine, limit = limits
    if value <= fine:
        return Check(name, True, found)
    return Check(name, None if value <= limit else False, found, fix)


@contextlib.contextmanager
def _child(program: str) -> Iterator[subprocess.Popen[bytes]]:
    command, pipe, null = [sys.executable, "-c", program], subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, env=clean(), bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def _affinity() -> set[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return set(affinity(0)) if affinity else set(range(os.cpu_count() or 1))


def _cpu_share(process: psutil.Process) -> float:
    """Of a core, since the last call; 0 when the process has ended or may not be inspected."""
    with contextlib.suppress(psutil.Error):
        return float(process.cpu_percent()) / 100
    return 0.0


def _busy_cores() -> float:
    """How many of the cores that we may use are busy: containers do not list the processes of others."""
    usable = _affinity()
    cpus = [times for cpu, times in enumerate(psutil.cpu_times_percent(WATCH_S, percpu=True)) if cpu in usable]
    return sum(getattr(times, name, 0.0) for times in cpus for name in _BUSY) / 100
