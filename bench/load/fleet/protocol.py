"""A fleet: load processes that report to a Locust master, on this machine or on others; their first messages."""

import hashlib
import os
import platform
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from bench.record.manifest import LoadWorker
from bench.record.traces import ClockReading
from bench.system.embedded import free_port
from bench.workload.scenario import PlanError

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
FOLDER, WITNESS, SIZE = "CHAT_FLEET", "CHAT_FLEET_WITNESS", "CHAT_FLEET_SIZE"
"""Variables of the master: the folder of orders, the mock's URL, the number of workers."""
PORT = 5557
FAILED = "failed"
"""The file in which the master writes why the load has failed."""
CHOICES = "choose --processes N, or --master --expect-workers N [--master-port P]"
MOST = 256
_CODE = ("load", "record", "targets")


@dataclass(frozen=True)
class Fleet:
    """`processes` are forked on this machine, or `workers` connect to `port`."""

    processes: int = 0
    workers: int = 0
    port: int = PORT

    @property
    def size(self) -> int:
        """The number of load processes."""
        return self.processes or self.workers

    def arguments(self, host: str) -> list[str]:
        """Locust's arguments; the master of other machines listens on `host`."""
        own = ["locust", "-f", str(LOCUSTFILE), "--headless", "-u", "1", "-r", "1", "--only-summary"]
        if self.workers:
            place = ["--master-bind-host", host, "--master-bind-port", str(self.port)]
            return [*own, "--master", "--expect-workers", str(self.workers), *place]
        port = str(free_port())
        place = ["--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port]
        return [*own, "--processes", str(self.processes), *place]


def parse_fleet(text: str) -> Fleet | None:
    """Read LOAD: `--processes N`, or `--master --expect-workers N [--master-port P]`; None when it is empty.

    Raises PlanError.
    """
    names = {"--processes": "processes", "--expect-workers": "workers", "--master-port": "port"}
    words = iter(text.split())
    found: dict[str, int] = {}
    for word in words:
        if word != "--master":
            value = next(words, "")
            if word not in names or not value.isdecimal() or not 0 < int(value) < 65536:
                raise PlanError(f"LOAD is {text!r}: {CHOICES}")
            found[names[word]] = int(value)
    fleet = Fleet(**found)
    master = "--master" in text.split()
    if text.strip() and (master != bool(fleet.workers) or bool(fleet.workers) == bool(fleet.processes)):
        raise PlanError(f"LOAD is {text!r}: {CHOICES}")
    if fleet.size > MOST:
        raise PlanError(f"LOAD is {text!r}: at most {MOST} load processes")
    return fleet if text.strip() else None


class Welcome(msgspec.Struct):
    """The master's first message to a worker."""

    number: int
    witness: str
    clock: str


class Hello(msgspec.Struct):
    """The worker's answer; `shared`: it reads the same clock as the master's machine."""

    code: str
    host: str
    pid: int
    python: str
    place: str
    shared: bool
    reading: ClockReading

    def describe(self, number: int) -> LoadWorker:
        """The manifest's record of this worker."""
        return LoadWorker(
            name=worker_name(number, self.host),
            host=self.host,
            pid=self.pid,
            python=self.python,
            shared_clock=self.shared,
            offset_ns=0 if self.shared else self.reading.offset_ns,
            uncertainty_ns=0 if self.shared else self.reading.uncertainty_ns,
        )


def hello(clock: str, reading: ClockReading) -> Hello:
    """This process, for a master whose clock is `clock`.

    Copies of a virtual machine have the same boot id, so a shared clock must also read the same.
    """
    shared = clock == clock_id() != "" and abs(reading.offset_ns) <= reading.uncertainty_ns
    return Hello(code_id(), socket.gethostname(), os.getpid(), platform.python_version(), place(), shared, reading)


def worker_name(number: int, host: str) -> str:
    """The name of a worker in messages and records."""
    return f"worker {number + 1} on {host}"


@cache
def code_id() -> str:
    """The first digits of the SHA-256 of the code that sends chats and writes rows."""
    digest = hashlib.sha256()
    for room in _CODE:
        for file in sorted(Path(__file__).parents[2].joinpath(room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def clock_id() -> str:
    """Boot and time namespace: processes that agree in both share CLOCK_MONOTONIC. Empty where they are unknown."""
    return _identity("time")


def place() -> str:
    """Boot and PID namespace: within one place a process id names one process."""
    return _identity("pid") or socket.gethostname()


def _identity(namespace: str) -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path(f'/proc/self/ns/{namespace}').readlink()}"
    return ""
