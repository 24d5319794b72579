"""Parse a store's URL; no message contains a part of its user name, password or options."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode

from backends.errors import BackendUrlError

ENCODE = (
    "percent-encode special characters in the user name, the password and the options: "
    "# is %23, / is %2F, ? is %3F, @ is %40, % is %25"
)
_NAME = r"[\w~%-]{1,63}(\.[\w~%-]{1,63})*\.?"
_HOST = re.compile(rf"(\[[0-9A-Fa-f:.]+(%25[\w.-]+)?\]|%2[Ff][\w.~%-]+|{_NAME}|)(:(?P<port>[0-9]{{1,5}}))?", re.ASCII)
_HALF_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class StoreUrl:
    """`scheme://user:password@hosts/path?options`, decoded; `hosts` is `host:port`, or several with commas."""

    scheme: str
    hosts: str
    path: str
    user: str = field(repr=False)
    password: str = field(repr=False)
    options: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> StoreUrl:
        """Raises `BackendUrlError` for a URL that a driver would misread, for example a raw `/` in a password."""
        scheme, _, rest = url.partition("://")
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        path, mark, query = rest[len(authority) :].partition("?")
        userinfo, _, hosts = authority.rpartition("@")
        user, _, password = userinfo.partition(":")
        # After the authority, "@" and "#" are most likely parts of a password that contains a raw "/", "?" or "#".
        if "#" in rest or "@" in path + query or _HALF_ENCODED.search(userinfo):
            raise BackendUrlError(f"the backend URL cannot be parsed: {ENCODE}")
        ports = [_HOST.fullmatch(host) for host in hosts.split(",")]
        if any(found is None or int(found["port"] or 1) not in range(1, 65536) for found in ports):
            raise BackendUrlError(f"the backend URL has no valid host and port ({scheme}://host:port/...); {ENCODE}")
        try:
            options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(mark and query)))
        except ValueError:
            raise BackendUrlError(f"an option of the backend URL has no value (?name=value&...); {ENCODE}") from None
        return cls(scheme, hosts, unquote(path[1:]), unquote(user), unquote(password), options)

    @property
    def address(self) -> str:
        """The hosts for messages."""
        return self.hosts or "its default address"

    def encoded(self, options: dict[str, str]) -> str:
        """The URL for the driver, every part percent-encoded, with these options instead of its own."""
        login = quote(self.user, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        path = f"/{quote(self.path, safe='')}" if self.path else ""  # "/" alone would mean a database without a name
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        return f"{self.scheme}://{login and login + '@'}{self.hosts}{path}{query}"
