"""Translate the parameters of a PostgreSQL URL from libpq's to asyncpg's, which are fewer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from backends.errors import BackendUrlError
from backends.store_url import StoreUrl

_SUPPORTED = {  # by asyncpg itself
    "database",
    "dbname",
    "gsslib",
    "host",
    "krbsrvname",
    "passfile",
    "password",
    "port",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "target_session_attrs",
    "user",
}
_IGNORED = {
    # The store sends UTF-8, names its connections, and detects half-open ones itself (ABORT_KEEPALIVE_S).
    "client_encoding",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
    # asyncpg tries hosts in order, and has no compression, SNI or credential delegation.
    "gssdelegation",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "sslcompression",
    "sslkeylogfile",
    "sslsni",
}
_OFF = {  # unsupported by asyncpg: only values that do not require the feature are accepted
    "channel_binding": ("disable", "prefer", "require"),  # "require" is logged, see `warnings`
    "gssencmode": ("disable", "prefer"),
    "replication": ("false", "off", "no", "0"),
    "sslcertmode": ("allow", "disable"),
}
_UNSUPPORTED = {
    "hostaddr",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "servicefile",
    "sslcrldir",
}
_SSL_VALUES = {
    "ssl": {
        "true": "require",
        "1": "require",
        "false": "disable",
        "0": "disable",
    },  # SQLAlchemy, JDBC
    "requiressl": {"1": "require", "0": "prefer"},  # old versions of libpq
}
_NUMBERS = {"connect_timeout": re.compile("[0-9]+", re.ASCII), "port": re.compile("[0-9]+(,[0-9]+)*", re.ASCII)}
_LISTEN = re.compile("(^|&)listen=(?P<url>postgres(ql)?://.*|[^&]*)")


@dataclass(frozen=True)
class Address:
    """How to connect with asyncpg."""

    hosts: str
    """`host:port` for messages."""
    dsns: tuple[str, ...] = field(repr=False)
    """One for each host, in the order in which they are tried."""
    timeout_s: float
    """Limit for connecting."""
    host_timeout_s: float
    """Limit for each host but the last one, before the next one is tried."""
    settings: dict[str, str]
    """Server settings of every connection."""
    warnings: tuple[str, ...]
    """To log at start."""
    pooled: bool = False
    """A pooler answers there: it refuses settings of ours, and may run each statement in another session."""

    def arguments(self, settings: dict[str, str], application: str) -> dict[str, Any]:
        """The options of `connect`; the URL's own settings and application name take precedence."""
        settings = ({} if self.pooled else settings) | {"application_name": application} | self.settings
        arguments = {"timeout": self.timeout_s, "server_settings": settings}
        # asyncpg's cached statements belong to a session.
        return arguments | ({"statement_cache_size": 0} if self.pooled else {})


def parse_addresses(url: str, command_timeout_s: float) -> tuple[Address, Address | None]:
    """The addresses for statements and, if the option `listen` gives another one, for LISTEN.

    Unless it is percent-encoded, `listen` is the last option. Raises `BackendUrlError`.
    """
    start, _, query = url.partition("?")
    found = _LISTEN.search(query)
    if found is None:
        return parse_address(url, command_timeout_s), None
    listen = found["url"] if "://" in found["url"] else unquote(found["url"])
    if not listen.startswith(("postgres://", "postgresql://")):
        raise BackendUrlError("the option 'listen' of the backend URL is not of the form postgres://host:port/database")
    query = (query[: found.start()] + query[found.end() :]).strip("&")
    url = f"{start}?{query}" if query else start
    return parse_address(url, command_timeout_s), parse_address(listen, command_timeout_s)


def parse_address(url: str, command_timeout_s: float) -> Address:
    """Translate the URL; its `connect_timeout` replaces `command_timeout_s` as the limit for connecting.

    A parameter that libpq does not know is sent as a server setting; the server refuses unknown ones. Raises
    `BackendUrlError`.
    """
    parsed, timeout_s = StoreUrl.parse(url), command_timeout_s
    options, settings, warnings = {"target_session_attrs": "read-write"}, {}, []
    for name, value in parsed.options.items():
        if name in _UNSUPPORTED or (name in _OFF and value not in _OFF[name]):
            shown = f"{name}={value}" if name in _OFF else name
            raise BackendUrlError(f"asyncpg does not support the parameter {shown!r} of the backend URL: remove it")
        if name in _NUMBERS and not _NUMBERS[name].fullmatch(value):
            raise BackendUrlError(f"the parameter {name!r} is not a number: correct the backend URL")
        if name == "connect_timeout":
            timeout_s = float(value) or timeout_s  # libpq's 0 means no limit, which a Stop cannot wait for
        elif name == "channel_binding" and value == "require":
            warnings.append("channel_binding=require has no effect with asyncpg: use sslmode=verify-full")
        elif name in _SSL_VALUES:
            options["sslmode"] = _SSL_VALUES[name].get(value.lower(), value)
        elif name in _SUPPORTED:
            options[name] = value
        elif name not in _IGNORED and name not in _OFF:
            settings[name] = value
    hosts = options.get("host", "") if not parsed.hosts else ""
    if hosts and "port" in options:
        hosts = f"{hosts}:{options['port']}"
    each = [parsed.hosts] if "port" in options else parsed.hosts.split(",")  # the option has the ports of all hosts
    dsns = tuple(replace(parsed, hosts=host).encoded(options) for host in each)
    host_timeout_s = command_timeout_s / 4  # a statement waits for its connection within its own limit
    return Address(hosts or parsed.address, dsns, timeout_s, host_timeout_s, settings, tuple(warnings))
