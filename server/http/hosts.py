"""Which names in a Host header a service answers to: the defence against DNS rebinding.

A page of evil.example whose name is made to resolve to 127.0.0.1 is, to the browser, of the same origin as a service on
the loopback interface. Only the Host header tells its requests from the user's own.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from starlette.types import Scope

from server.settings import Settings, listed

TARGET = "stopwatch.target"
"""Where the protocol puts a request line's target that holds a host (absolute form): it overrides the Host header."""
HEALTH = frozenset(["/healthz", "/health", "/readyz", "/metrics"])
"""Answered under any Host: load balancers send an address or nothing, and these paths spend nothing."""
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{0,5})?")


class Hosts:
    """The names that requests may be addressed to.

    Without API keys (and without OPEN_TO_NETWORK) these are the loopback names and ALLOWED_HOSTS. Otherwise any name
    is allowed, unless ALLOWED_HOSTS is set.
    """

    def __init__(self, settings: Settings) -> None:
        names = listed(settings.allowed_hosts)
        self._any = "*" in names or (not names and bool(settings.keys or settings.open_to_network))
        self._names = {_name(name) for name in names if not name.startswith("*")} - {None}
        self._suffixes = tuple(name[1:].lower() for name in names if name.startswith("*."))
        self._allows = lru_cache(maxsize=256)(self._allow)

    def refuse(self, scope: Scope) -> str | None:
        """Why a request to this host is refused; None if it is allowed."""
        if self._any or scope["path"] in HEALTH:
            return None
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if TARGET in scope:
            hosts.append(scope[TARGET])
        if not hosts:
            return "The request has no Host header"
        refused = next((host for host in hosts if not self._allows(host)), None)
        if refused is None:
            return None
        shown = ascii(refused[:100].decode("latin-1"))
        return f"Host {shown} is not allowed: use a loopback name, or add it to ALLOWED_HOSTS"

    def _allow(self, host: bytes) -> bool:
        name = _name(host.decode("latin-1"))
        return name is not None and (name in self._names or _is_loopback(name) or name.endswith(self._suffixes))


def _name(host: str) -> str | None:
    """The name in a Host header, without port, brackets and final dot, in lower case; None for anything else."""
    match = _HOST.fullmatch(host.strip())
    return (match[1] or match[2].removesuffix(".")).lower() if match else None


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: never resolved elsewhere
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
