"""Machines for tests: network namespaces, whose processes have another CLOCK_MONOTONIC; they need root."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

from bench.system.procs import Child

ROOT = Path(__file__).parents[2]
HERE, THERE = "10.213.{}.1", "10.213.{}.2"
AHEAD_S = 5000


def unshared() -> str | None:
    """Why there are no namespaces here; None where there are."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network and time namespaces need Linux and root"
    commands = (["ip", "netns", "list"], ["unshare", "-T", "--monotonic", "1", "--fork", "true"])
    with contextlib.suppress(OSError):
        if all(subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in commands):
            return None
    return "this system has no network namespaces (ip netns) or time namespaces (unshare -T)"


class Machine:
    """A network namespace, joined to this one by a veth pair; its processes have a clock that is 5000 s ahead."""

    def __init__(self) -> None:
        self._name = f"bench-{secrets.token_hex(3)}"
        number = secrets.randbelow(250)
        self.here, self.there = HERE.format(number), THERE.format(number)

    def __enter__(self) -> Machine:
        inside = ["ip", "-n", self._name]
        for command in (
            ["ip", "netns", "add", self._name],
            ["ip", "link", "add", self._name, "type", "veth", "peer", "name", "out", "netns", self._name],
            ["ip", "addr", "add", f"{self.here}/24", "dev", self._name],
            ["ip", "link", "set", self._name, "up"],
            [*inside, "addr", "add", f"{self.there}/24", "dev", "out"],
            [*inside, "link", "set", "out", "up"],
            [*inside, "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self._name], check=False, capture_output=True)

    def worker(self, log: Path, port: int, processes: int = 1) -> Child:
        """`bench load --worker` on this machine."""
        options = ["--worker", "--master-host", self.here, "--master-port", str(port), "--processes", str(processes)]
        return self.run([sys.executable, "-m", "bench", "load", *options], log)

    def run(self, argv: list[str], log: Path) -> Child:
        """A program on this machine."""
        shifted = ["ip", "netns", "exec", self._name, "unshare", "-T", "--monotonic", str(AHEAD_S), "--fork"]
        return Child(argv[2], (), log, argv=[*shifted, *argv], ready=False, folder=ROOT)


def free_port(host: str) -> int:
    """A port that no process gets by asking for any: those are from 32768 on."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
