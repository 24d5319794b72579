"""Allowed names in the Host header: protection against DNS rebinding.

If evil.example resolves to 127.0.0.1, a browser treats its page as the same origin as a service on the loopback
interface. Only the Host header distinguishes the page's requests from the user's own.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from starlette.types import Scope

from server.settings import Settings, split_list

TARGET_HOST = "stopwatch.target"
"""Scope key: the host in a request line of absolute form, which overrides the Host header."""
HEALTH_PATHS = frozenset(["/healthz", "/health", "/readyz", "/metrics"])
"""Served under any Host: load balancers send an address or nothing, and these paths start nothing."""
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{0,5})?")


class AllowedHosts:
    """The allowed hosts: loopback names and ALLOWED_HOSTS.

    With API keys or OPEN_TO_NETWORK, and without ALLOWED_HOSTS, any name is allowed.
    """

    def __init__(self, settings: Settings) -> None:
        names = split_list(settings.allowed_hosts)
        self._any = "*" in names or (not names and bool(settings.keys or settings.open_to_network))
        self._names = {_name(name) for name in names if not name.startswith("*")} - {None}
        self._suffixes = tuple(name[1:].lower() for name in names if name.startswith("*."))
        self._is_allowed = lru_cache(maxsize=256)(self._check)

    def rejection_reason(self, scope: Scope) -> str | None:
        """Return why this request's host is not allowed; None if it is."""
        if self._any or scope["path"] in HEALTH_PATHS:
            return None
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if TARGET_HOST in scope:
            hosts.append(scope[TARGET_HOST])
        if not hosts:
            return "The request has no Host header"
        rejected = next((host for host in hosts if not self._is_allowed(host)), None)
        if rejected is None:
            return None
        shown = ascii(rejected[:100].decode("latin-1"))
        return f"Host {shown} is not allowed: use a loopback name, or add it to ALLOWED_HOSTS"

    def _check(self, host: bytes) -> bool:
        name = _name(host.decode("latin-1"))
        return name is not None and (name in self._names or _is_loopback(name) or name.endswith(self._suffixes))


def _name(host: str) -> str | None:
    """Return the name in a Host header in lower case, without port, brackets and final dot; None if it is invalid."""
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
