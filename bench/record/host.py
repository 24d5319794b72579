"""Describe what a number was measured with: machine, versions, commit, and the time of day."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.record.manifest import Host
from bench.system.git import GitError, git

PACKAGES = (
    "aiohttp", "asyncpg", "fastapi", "gevent", "geventhttpclient", "httptools", "locust", "openai", "redis",
    "starlette", "stopwatch-chat", "uvicorn", "uvloop",
)  # fmt: skip


def utc_now() -> str:
    """The time of day, for people; durations are measured with CLOCK_MONOTONIC."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def describe_host() -> Host:
    """This machine; `cpus` are those that the process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return Host(
        cpus=len(affinity(0)) if affinity else os.cpu_count(),
        cpu=_cpu_model(),
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
    )


def machine_kind(host: Host) -> str:
    """CPU model, cores and operating system without its release: `Intel(R) Xeon(R) Processor, 2 cores, Linux`."""
    system = (host.system or "unknown system").split()[0]
    return f"{host.cpu or 'unknown CPU'}, {host.cpus or '?'} cores, {system}"


def other_machine(there: Host, here: Host) -> str:
    """How two hosts differ, as `cpus is 4 there, 2 here`; empty where they are equal in all that both records have."""
    pairs = [(name, getattr(there, name), getattr(here, name)) for name in Host.__struct_fields__]
    return "; ".join(f"{name} is {a} there, {b} here" for name, a, b in pairs if a != b and None not in (a, b))


def describe_versions() -> dict[str, str]:
    """The versions of the packages that take part in the measurement."""
    found = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe_commit(folder: Path = Path(__file__).parent) -> tuple[str | None, bool | None]:
    """Commit and whether there are uncommitted changes; (None, None) outside a checkout or without git."""
    try:
        return git(folder, "rev-parse", "HEAD"), bool(git(folder, "status", "--porcelain"))
    except GitError:
        return None, None


def _cpu_model() -> str:
    """The model name of the processor; empty where the system does not report one."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() == "model name":
                return value.strip()
    return platform.processor()
