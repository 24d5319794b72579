"""Check the options of a Redis URL: supported, ignored, or refused."""

from __future__ import annotations

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
        raise BackendUrlError("the backend URL names several hosts; a Redis URL names one: redis://host:port/0")
    database = parsed.path.rstrip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise BackendUrlError("the backend URL's database is not a number: redis://host:port/0")
    options = {name: value for name, value in parsed.options.items() if name not in _IGNORED}
    return parsed.address, parsed.encoded(options)
