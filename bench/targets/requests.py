"""Requests of a target file, compiled once and encoded for each chat; and what is found in their answers."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from bench.targets.expressions import search
from bench.targets.model import Request, Value
from bench.targets.templates import RenderError, compiled, render

Values = Mapping[str, Any]
BODYLESS = ("GET", "HEAD", "DELETE")
SEPARATOR = "\x1e"
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
"""What a path may hold: a space or a line break in an id would end the request line."""


class Encoder:
    """A request as bytes: `encode(netloc, values)`. Raises RenderError where a template has no value."""

    def __init__(self, request: Request) -> None:
        form = request.form or {}
        parts = [request.request, *request.headers.values()]
        parts += [request.json_body] if request.json_body is not None else form.values()
        # One template for all: most of the time of a small one is spent before its first character.
        self._parts = compiled(SEPARATOR.join(parts))
        self._names, self._fields = list(request.headers), list(form)
        self._has_form, self._has_json = request.form is not None, request.json_body is not None
        self._typed = any(name.lower() == "content-type" for name in request.headers)

    def encode(self, netloc: str, values: Values) -> bytes:
        """The bytes of the request, on a connection of its own."""
        line, *rest = render(self._parts, values).split(SEPARATOR)
        count = len(self._names)
        if len(rest) != count + (1 if self._has_json else len(self._fields)):
            raise RenderError("a value of a request contains the control character U+001E")
        method, _, path = line.partition(" ")
        body, kind = self._body(rest[count:])
        head = f"{method} {quote(path, safe=_VISIBLE)} HTTP/1.1\r\nHost: {netloc}\r\nConnection: close\r\n"
        for name, value in zip(self._names, rest, strict=False):
            head += f"{name}: {' '.join(value.split())}\r\n"
        if body is None and method in BODYLESS:
            return f"{head}\r\n".encode()
        content = body or b""
        head += "" if self._typed else f"Content-Type: {kind}\r\n"
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content

    def _body(self, rendered: list[str]) -> tuple[bytes | None, str]:
        if self._has_json:
            (text,) = rendered
            try:
                json.loads(text)
            except ValueError as error:
                raise RenderError(f"the json of a request is not JSON after rendering: {error}: {text[:80]}") from error
            return text.encode(), "application/json"
        if self._has_form:
            fields = dict(zip(self._fields, rendered, strict=True))
            return urlencode(fields).encode(), "application/x-www-form-urlencoded"
        return None, "application/json"


class Finder:
    """Find a value in an answer; None where it is not there."""

    def __init__(self, value: Value) -> None:
        self._search = search(value.body or value.event)
        self._header, self._regex = value.header, re.compile(value.regex)

    def in_headers(self, header: Callable[[str], Any]) -> str | None:
        """Look in the headers; `header` gets a name and returns a value or None."""
        found = self._header and header(self._header)
        match = self._regex.search(found) if isinstance(found, str) else None
        return match and match[1]

    def in_document(self, document: Any) -> Any:
        """Look in a decoded body or event."""
        return self._search(document)


def document_of(body: bytes) -> Any:
    """A body as JSON, or as text where it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
