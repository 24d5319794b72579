"""A network namespace as a host of its own, whose link to another address can be cut."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest


@dataclass
class Network:
    """Three addresses: one in the namespace, two outside."""

    name: str
    inside: str
    outside: str
    other: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that is to run in the namespace."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Drop what the namespace sends to `other`, also on open connections."""
        _ip("-n", self.name, "route", "add", "blackhole", self.other)


@contextmanager
def network() -> Iterator[Network]:
    """Make one; skips the test where that is not possible."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and `ip`")
    name = f"sw{secrets.token_hex(4)}"
    subnet = f"10.{secrets.randbelow(90) + 160}.{secrets.randbelow(256)}"
    inside, outside, other = (f"{subnet}.{host}" for host in (2, 1, 3))
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted: {error.stderr.decode().strip()}")
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        for address in (outside, other):
            _ip("address", "add", f"{address}/24", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "address", "add", f"{inside}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        yield Network(name, inside, outside, other)
    finally:
        _ip("netns", "delete", name)  # and with it the link


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
