"""The URLs of the stores: checked, shown without user name and password, and in the form of each client."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode

from bench.workload.scenario import PlanError

EXAMPLES = {
    "redis": "redis://host:port/0",
    "postgres": "postgres://user:password@host:port/database",
    "nats": "nats://host:port",
}
_SCHEMES = {"redis": ("redis", "rediss"), "postgres": ("postgres", "postgresql"), "nats": ("nats",)}
_HOSTS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.%-]*)(:[0-9]{1,5})?(,[\w.%-]*(:[0-9]{1,5})?)*", re.ASCII)
_HARMLESS = re.compile(r"[\w.-]{1,60}(:[0-9]{1,5})?(/[0-9]*)?", re.ASCII)
_ASYNCPG = re.compile(r"(ssl\w+|host|port|user|password|dbname|database|passfile|service|target_session_attrs)")


def checked(variable: str, kind: str, url: str) -> str:
    """The URL, its scheme without the name of a driver (`postgresql+asyncpg`).

    Raises PlanError: one line with the expected form, and no part of a password.
    """
    scheme, _, hosts, path = _parts(url)
    scheme = scheme.lower().partition("+")[0]
    if "://" not in url or scheme not in _SCHEMES[kind]:
        shown = f" {url!r}" if _HARMLESS.fullmatch(url) else ""
        raise PlanError(f"{variable}{shown} is no URL: {EXAMPLES[kind]}")
    if "#" in url or "@" in path or not _HOSTS.fullmatch(hosts):
        raise PlanError(
            f"{variable} cannot be read: write {EXAMPLES[kind]}, special characters percent-encoded "
            "(# is %23, / is %2F, ? is %3F, @ is %40, % is %25)"
        )
    return f"{scheme}://{url.partition('://')[2]}"


def where(url: str) -> str:
    """The `host:port` of a checked URL."""
    return _parts(url)[2] or "its default address"


def with_delivery(kind: str, url: str, delivery: str) -> str:
    """The checked URL with the scheme of a strategy, e.g. `redis+push://`; TLS (`rediss`) stays."""
    scheme, _, rest = url.partition("://")
    return f"{scheme if scheme == 'rediss' else kind}+{delivery}://{rest}"


def for_asyncpg(url: str) -> str:
    """The checked URL for asyncpg: user name and password encoded, without libpq's other parameters."""
    scheme, login, hosts, rest = _parts(url)
    login = ":".join(quote(unquote(part), safe="") for part in login.rpartition("@")[0].split(":", 1))
    path, _, query = rest.partition("?")
    known = [(name, value) for name, value in parse_qsl(query) if _ASYNCPG.fullmatch(name)]
    return f"{scheme}://{login}{'@' if login else ''}{hosts}{path}" + (f"?{urlencode(known)}" if known else "")


def _parts(url: str) -> tuple[str, str, str, str]:
    """Scheme, `user:password@` or empty, hosts with ports, path with query."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    login, at, hosts = authority.rpartition("@")
    return scheme, login + at, hosts, rest[len(authority) :]
