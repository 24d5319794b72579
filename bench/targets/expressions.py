"""JMESPath over answers and events; paths of plain names and indexes are compiled to attribute access."""

import re
from collections.abc import Callable
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

Search = Callable[[Any], Any]


def checked(expression: str) -> str:
    """The expression itself. Raises ValueError, which names the fault."""
    try:
        jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(f"not a JMESPath expression: {' '.join(str(error).split())}") from error
    return expression


def checked_regex(pattern: str) -> str:
    """The pattern itself. Raises ValueError unless it is a regular expression with one group."""
    try:
        if re.compile(pattern).groups != 1:
            raise ValueError("a regular expression with one group is needed")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


def search(expression: str | None) -> Search:
    """A function from a decoded document to what the expression finds in it, None for nothing.

    JMESPath interprets its tree for each document, which takes 10 us; a load reads thousands of events a second, and
    nearly all of their expressions are paths.
    """
    if expression is None:
        return lambda _document: None
    compiled = jmespath.compile(expression)
    path = _path(compiled.parsed)
    if path is None:
        return compiled.search
    if len(path) == 1:
        (only,) = path
        return lambda document: document.get(only) if isinstance(document, dict) else None

    def walk(document: Any) -> Any:
        for step in path:
            try:
                document = document[step]
            except (KeyError, IndexError, TypeError):
                return None
        return document

    return walk


def _path(node: Any) -> list[str | int] | None:
    """The names and indexes of a plain path, None for any other expression."""
    if node["type"] in ("field", "index"):
        return [node["value"]]
    if node["type"] in ("subexpression", "index_expression"):
        parts = [_path(child) for child in node["children"]]
        if all(part is not None for part in parts):
            return [step for part in parts for step in part or ()]
    return None
