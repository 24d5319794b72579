"""Is this machine fit to measure on? Looked at before a run: each check says what it found and what to change."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.experiments.doctor_probes import Check, clock, competition, loopback, steal, timers
from bench.system.embedded import StoreError
from bench.system.stores import URL_VARIABLES, open_store
from bench.workload.scenario import PlanError

NEEDED_MB, COMFORTABLE_MB = 500, 1000
"""Stores, mock, load, two workers and the report take about 700 MB at their peaks, which do not coincide."""


def checks(*, workers: int = 2, streams: int = 100) -> Iterator[Check]:
    """Look at everything, one check after the other, as each is done (about 6 s in all).

    `workers` and `streams` are those of the run to come: the service's processes, and chats at a time.
    """
    yield cores(workers)
    yield governor()
    yield open_files(streams)
    yield clock()
    yield from timers()
    yield competition(usable_cores())
    yield steal()
    yield memory()
    yield loopback()
    for kind in URL_VARIABLES:
        yield store(kind)


def cores(workers: int) -> Check:
    """Cores against the processes that work at the same time: workers, mock, load."""
    found, needed = usable_cores(), workers + 2
    says = f"{found:g} cores for {needed} busy processes ({workers} workers, mock, load)"
    if found < 2:
        return Check("cores", False, says, "use a machine with 2 cores or more: one cannot serve and measure")
    if found < needed:
        return Check("cores", None, says, f"WORKERS={max(1, int(found) - 2)}, or {needed} cores, for exact tails")
    return Check("cores", True, says)


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Cores this process may use: its affinity, or less where a container's quota (cgroup v2) says so."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2 here, or "max"
        allowed, period = quota.read_text(encoding="ascii").split()
        count = min(count, int(allowed) / int(period))
    return count


def governor(folder: Path = Path("/sys/devices/system/cpu")) -> Check:
    """A governor that saves power wakes cores late."""
    names = set()
    for file in folder.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with contextlib.suppress(OSError):
            names.add(file.read_text(encoding="ascii").strip())
    if not names:
        return Check("CPU governor", True, "not to be seen here, as in most virtual machines")
    says = ", ".join(sorted(names))
    if names <= {"performance", "schedutil"}:
        return Check("CPU governor", True, says)
    return Check("CPU governor", None, says, "sudo cpupower frequency-set -g performance")


def open_files(streams: int) -> Check:
    """Each stream holds a socket in the load, two in the service, one in the mock, and its Stop one more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 4 * streams
    words = ["unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}" for limit in (soft, hard)]
    says = f"{words[0]} (at most {words[1]}), {needed:,} needed for {streams:,} streams"
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Check("open files", True, says)
    allowed = hard == resource.RLIM_INFINITY or hard >= needed
    fix = f"ulimit -n {needed}" if allowed else f"raise the hard limit to {needed} (/etc/security/limits.conf)"
    return Check("open files", False, says, fix)


def memory() -> Check:
    """What can still be had without swapping."""
    available_mb = psutil.virtual_memory().available / 2**20
    says = f"{available_mb:,.0f} MB available"
    if available_mb < COMFORTABLE_MB:
        return Check("memory", None if available_mb >= NEEDED_MB else False, says, f"free {COMFORTABLE_MB:,} MB")
    return Check("memory", True, says)


def store(kind: str) -> Check:
    """The server that a run would use: it starts, answers, and says what it is."""
    try:
        with open_store(kind) as opened:
            return Check(kind, True, f"{opened.name} {opened.version} ({opened.how})")
    except (StoreError, PlanError) as error:
        cause, _, fix = str(error).partition(": ")
        return Check(kind, False, cause, fix)
