"""Checks the URLs in REDIS_URL and DATABASE_URL, and shows them without user name and password."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode

from bench.workload.scenario import PlanError

EXAMPLES = {"redis": "redis://host:port/0", "postgres": "postgres://user:password@host:port/database"}
_SCHEMES = {"redis": ("redis", "rediss"), "postgres": ("postgres", "postgresql")}
_HOSTS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.%-]*)(:[0-9]{1,5})?(,[\w.%-]*(:[0-9]{1,5})?)*", re.ASCII)
_HARMLESS = re.compile(r"[\w.-]{1,60}(:[0-9]{1,5})?(/[0-9]*)?", re.ASCII)
_ASYNCPG = re.compile(r"(ssl\w+|host|port|user|password|dbname|database|passfile|service|target_session_attrs)")


def checked(variable: str, kind: str, url: str) -> str:
    """The URL, its scheme without the name of a driver (`postgresql+asyncpg`).

    Raises PlanError: one line with the form that is expected, and no part of a password.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower().partition("+")[0]
    if not separator or scheme not in _SCHEMES[kind]:
        shown = f" {url!r}" if _HARMLESS.fullmatch(url) else ""
        raise PlanError(f"{variable}{shown} is no URL: {EXAMPLES[kind]}")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    if "#" in rest or "@" in behind or not _HOSTS.fullmatch(authority.rpartition("@")[2]):
        raise PlanError(
            f"{variable} cannot be read: write {EXAMPLES[kind]}, special characters percent-encoded "
            "(# is %23, / is %2F, ? is %3F, @ is %40, % is %25)"
        )
    return f"{scheme}://{rest}"


def where(url: str) -> str:
    """The `host:port` of a checked URL."""
    return re.split("[/?]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2] or "its default address"


def for_asyncpg(url: str) -> str:
    """The checked URL as asyncpg reads it: user name and password encoded, without libpq's other parameters."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    userinfo, at, hosts = authority.rpartition("@")
    login = ":".join(quote(unquote(part), safe="") for part in userinfo.split(":", 1))
    path, _, query = rest[len(authority) :].partition("?")
    known = [(name, value) for name, value in parse_qsl(query) if _ASYNCPG.fullmatch(name)]
    return f"{scheme}://{login}{at}{hosts}{path}" + (f"?{urlencode(known)}" if known else "")
