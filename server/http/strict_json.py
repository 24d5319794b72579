"""Parse a request body as JSON that can be encoded again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

MAX_DEPTH = 100
"""Limit on nested lists and objects in a body; pydantic's serializer fails at 255."""
_Path = tuple[str | int, ...]


class UnencodableError(ValueError):
    """A value at `path` in the body that Python parses, but that cannot be encoded as JSON in UTF-8."""

    def __init__(self, path: _Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class _NotFiniteError(Exception):
    """A number is NaN, infinite, or beyond a double's range."""


def _finite(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise _NotFiniteError
    return value


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def parse_json(body: bytes) -> Any:
    """Parse JSON; of equal keys in an object the last one counts.

    Raises `UnencodableError` for half of a surrogate pair, NaN, infinities, numbers beyond a double's range and more
    than MAX_DEPTH levels; another ValueError or RecursionError for invalid JSON.
    """
    encoding, suspect = json.detect_encoding(body), False
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError:
        text, suspect = body.decode(encoding, "surrogatepass"), True
    try:
        parsed = _DECODER.decode(text)
    except _NotFiniteError:
        parsed, suspect = json.loads(text), True
    # The check takes longer than the parser, so it runs only where it can find something.
    if suspect or "\\ud" in text or "\\uD" in text or text.count("[") + text.count("{") > MAX_DEPTH:
        _check(parsed, ())
    return parsed


def _check(value: Any, path: _Path) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UnencodableError(path, "NaN, infinities and numbers beyond 1.8e308 are not allowed")
    elif isinstance(value, dict | list):
        if len(path) >= MAX_DEPTH:
            raise UnencodableError(path[:1], f"The value is nested deeper than {MAX_DEPTH} levels")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            inner = (*path, key if isinstance(key, int) else _printable(key))
            if isinstance(key, str):
                _check_text(key, inner)
            _check(item, inner)


def _check_text(text: str, path: _Path) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise UnencodableError(path, f"The string holds half of a surrogate pair ({half})") from None


def _printable(key: str) -> str:
    return key[:100].encode(errors="backslashreplace").decode()


class _StrictRequest(Request):
    async def json(self) -> Any:
        """Parse the body. Raises HTTPException 422, which names a value that cannot be encoded."""
        try:
            return parse_json(await self.body())
        except UnencodableError as error:
            raise _invalid("json_unencodable", ["body", *error.path], str(error)) from None
        except json.JSONDecodeError:
            raise  # FastAPI answers 422 with the position
        except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5,000 digits, nested too deeply
            raise _invalid("json_invalid", ["body"], f"The body is not valid JSON: {error}") from None


def _invalid(kind: str, loc: list[str | int], message: str) -> HTTPException:
    return HTTPException(422, [{"type": kind, "loc": loc, "msg": message}])


class StrictJSONRoute(APIRoute):
    """A route whose body is parsed by `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler with our request class."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict
