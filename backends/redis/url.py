"""Check the options of a Redis URL: supported, ignored, or refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from backends.errors import BackendUrlError
from backends.store_url import StoreUrl

_TLS = {
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
}
_SUPPORTED = {
    "db",
    "password",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_read_size",
    "socket_timeout",
    "username",
}
_IGNORED = {  # settings of redis-py's own pool and parser, and names that the store chooses itself
    "client_name",
    "decode_responses",
    "encoding",
    "encoding_errors",
    "health_check_interval",
    "legacy_responses",
    "lib_name",
    "lib_version",
    "max_connections",
    "protocol",
    "retry_on_timeout",
    "single_connection_client",
    "timeout",
}


_SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class SentinelUrl:
    """`redis+sentinel://user:password@h1,h2,h3/name`, or `rediss+sentinel` for TLS to Sentinels and servers."""

    sentinels: list[tuple[str, int]]
    name: str
    """The master's name at the Sentinels."""
    tls: bool
    login: dict[str, str] = field(repr=False)
    """User name and password for the Sentinels."""
    node_url: str = field(repr=False)
    """A URL with the login and the options for the servers; its host is not used."""


def sentinel_url(url: str) -> SentinelUrl:
    """Raises `BackendUrlError`."""
    parsed = StoreUrl.parse(url)
    form = f"{parsed.scheme}://h1:26379,h2:26379,h3:26379/name"
    sentinels = _addresses(parsed.hosts, 26379)
    if not sentinels:
        raise BackendUrlError(f"the backend URL names no Sentinel: {form}")
    if not parsed.path or "/" in parsed.path:
        raise BackendUrlError(f"the path of the backend URL is not the name of a master: {form}, ?db=0 for a database")
    login = {name.removeprefix("sentinel_"): parsed.options.pop(name, "") for name in _SENTINEL_LOGIN}
    scheme = parsed.scheme.partition("+")[0]
    node = replace(parsed, scheme=scheme, hosts="127.0.0.1", path="").encoded(parsed.options)
    return SentinelUrl(sentinels, parsed.path, scheme == "rediss", {k: v for k, v in login.items() if v}, node)


@dataclass(frozen=True)
class ClusterUrl:
    """`redis+cluster://user:password@h1,h2,h3`, or `rediss+cluster` for TLS."""

    nodes: list[tuple[str, int]]
    """Those to ask first for the others."""
    node_url: str = field(repr=False)
    """A URL with the login and the options for the nodes; its host is not used."""


def cluster_url(url: str) -> ClusterUrl:
    """Raises `BackendUrlError`."""
    parsed = StoreUrl.parse(url)
    nodes = _addresses(parsed.hosts, 6379)
    if not nodes:
        raise BackendUrlError(
            f"the backend URL names no node of the cluster: {parsed.scheme}://h1:6379,h2:6379,h3:6379"
        )
    if (parsed.path or "0") != "0" or parsed.options.get("db", "0") != "0":
        raise BackendUrlError("the backend URL names a database, but a cluster has only the database 0")
    scheme = parsed.scheme.partition("+")[0]
    node = replace(parsed, scheme=scheme, hosts="127.0.0.1", path="").encoded(parsed.options)
    return ClusterUrl(nodes, node)


def _addresses(hosts: str, default_port: int) -> list[tuple[str, int]]:
    """Host and port of each; none if one of them is missing."""
    addresses = []
    for address in hosts.split(","):
        host, _, port = address.rpartition(":") if re.search(r":[0-9]+$", address) else (address, "", default_port)
        addresses.append((host.strip("[]"), int(port)))
    return addresses if all(host for host, _ in addresses) else []


def driver_url(url: str) -> tuple[str, str]:
    """Return `host:port` for messages and the URL for redis-py. Raises `BackendUrlError`."""
    parsed = StoreUrl.parse(url)
    tls = parsed.scheme == "rediss"
    for name in parsed.options.keys() & _TLS:
        if not tls:
            raise BackendUrlError(f"the option {name!r} of the backend URL needs rediss:// instead of redis://")
    for name in parsed.options.keys() - _TLS - _SUPPORTED - _IGNORED:
        known = ", ".join(sorted(_SUPPORTED | (_TLS if tls else set())))
        raise BackendUrlError(f"the option {name!r} of the backend URL is unknown; choose from {known}")
    if "," in parsed.hosts:
        raise BackendUrlError(
            "the backend URL names several hosts; a Redis URL names one: redis://host:port/0, "
            "or the nodes of a cluster: redis+cluster://h1,h2,h3, or Sentinels: redis+sentinel://h1,h2,h3/name"
        )
    database = parsed.path.rstrip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise BackendUrlError("the backend URL's database is not a number: redis://host:port/0")
    options = {name: value for name, value in parsed.options.items() if name not in _IGNORED}
    return parsed.address, parsed.encoded(options)
