"""The parameters of a PostgreSQL URL as libpq knows them, translated for asyncpg, which knows fewer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from backends.base import BackendUrlError
from backends.store_url import StoreUrl

_UNDERSTOOD = {  # by asyncpg itself
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
_HARMLESS = {
    # The store sends UTF-8, names its connections, and finds a half-open one itself (ABORT_KEEPALIVE_S).
    "client_encoding",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
    # Hosts are tried in their order; compression, SNI and credential delegation are not offered by asyncpg.
    "gssdelegation",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "sslcompression",
    "sslkeylogfile",
    "sslsni",
}
_OFF = {  # asyncpg does not do this, so only a value that does not insist on it is understood
    "channel_binding": ("disable", "prefer", "require"),  # what "require" loses is logged, see `notes`
    "gssencmode": ("disable", "prefer"),
    "replication": ("false", "off", "no", "0"),
    "sslcertmode": ("allow", "disable"),
}
_NOT_UNDERSTOOD = {
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
    "ssl": {"true": "require", "1": "require", "false": "disable", "0": "disable"},  # as SQLAlchemy and JDBC spell it
    "requiressl": {"1": "require", "0": "prefer"},  # as old versions of libpq do
}
_NUMBERS = {"connect_timeout": re.compile("[0-9]+", re.ASCII), "port": re.compile("[0-9]+(,[0-9]+)*", re.ASCII)}


@dataclass(frozen=True)
class Address:
    """How to connect with asyncpg."""

    where: str
    """`host:port` for messages."""
    dsn: str = field(repr=False)
    timeout_s: float
    settings: dict[str, str]
    """Server settings for every connection."""
    notes: tuple[str, ...]
    """Warnings to log at start."""

    def arguments(self, settings: dict[str, str], application: str) -> dict[str, Any]:
        """The arguments of `asyncpg.connect`; `settings` and the connection's name hold unless the URL has its own."""
        settings = settings | {"application_name": application} | self.settings
        return {"dsn": self.dsn, "timeout": self.timeout_s, "server_settings": settings}


def address(url: str, timeout_s: float) -> Address:
    """Translate the URL; `timeout_s` for a connection holds unless the URL has a `connect_timeout`.

    A parameter that libpq does not know is taken for a setting of the server, which refuses what it does not know.
    Raises `BackendUrlError`.
    """
    parsed = StoreUrl.parse(url)
    options, settings, notes = {"target_session_attrs": "read-write"}, {}, []
    for name, value in parsed.options.items():
        if name in _NOT_UNDERSTOOD or (name in _OFF and value not in _OFF[name]):
            shown = f"{name}={value}" if name in _OFF else name
            raise BackendUrlError(f"asyncpg does not support the parameter {shown!r} of the backend URL: remove it")
        if name in _NUMBERS and not _NUMBERS[name].fullmatch(value):
            raise BackendUrlError(f"the parameter {name!r} is not a number: correct the backend URL")
        if name == "connect_timeout":
            timeout_s = float(value) or timeout_s  # libpq's 0 means for ever: nobody should wait so long for a Stop
        elif name == "channel_binding" and value == "require":
            notes.append("channel_binding=require has no effect, asyncpg cannot do it: prefer sslmode=verify-full")
        elif name in _SSL_VALUES:
            options["sslmode"] = _SSL_VALUES[name].get(value.lower(), value)
        elif name in _UNDERSTOOD:
            options[name] = value
        elif name not in _HARMLESS and name not in _OFF:
            settings[name] = value
    hosts = options.get("host", "") if not parsed.hosts else ""
    where = f"{hosts}:{options['port']}" if hosts and "port" in options else hosts
    return Address(where or parsed.where, parsed.encoded(options), timeout_s, settings, tuple(notes))
