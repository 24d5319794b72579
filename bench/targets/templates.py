"""Jinja2 templates of target files: sandboxed, and an unknown name is an error."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.sandbox import SandboxedEnvironment

ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
NAMES = {
    "mock": "URL of the upstream", "url": "URL of the service", "port": "port of the service", "workers": "processes",
    "redis_url": "a Redis of this run", "redis_port": "its port", "postgres_url": "a PostgreSQL of this run",
    "venv": ".targets/<name>, or the folder that process.setup fills", "npm": "node_modules of that folder",
    "namespace": "a name for what is kept in the stores, for each side",
    "python": "the Python of this project", "work": "new folder of the process",
    "here": "folder of the target file", "secret": "random, for each run",
    "id": "id of the chat", "uuid": "random, for each chat", "text": "message of the chat",
    "stream": "whether the answer is streamed", "env": "environment variables, for secrets",
    "setup": "values of [setup.*]", "prepare": "values of [prepare.*]", "ids": "ids of the chat",
}  # fmt: skip
"""The variables of a template and what they hold; [vars] of the target, its variant and its stop come on top."""


class RenderError(ValueError):
    """A template has a name without a value; the message is one line."""


def checked(text: str) -> str:
    """The template itself. Raises ValueError, which names the fault."""
    try:
        ENVIRONMENT.from_string(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"not a Jinja2 template: {error.message}") from error
    return text


def unknown_names(text: str, known: Iterable[str], groups: Mapping[str, Iterable[str]]) -> list[str]:
    """The names in a template that have no value: variables outside `known`, and `group.name` outside `groups`."""
    tree = ENVIRONMENT.parse(text)
    assigned = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    found = {
        name.name for name in tree.find_all(nodes.Name) if name.ctx == "load" and name.name not in {*known, *assigned}
    }
    for each in tree.find_all(nodes.Getattr):
        if isinstance(each.node, nodes.Name) and each.attr not in groups.get(each.node.name, (each.attr,)):
            found.add(f"{each.node.name}.{each.attr}")
    return sorted(found)


def environment_names(text: str) -> set[str]:
    """The environment variables that a template reads: `env.NAME`."""
    found = ENVIRONMENT.parse(text).find_all(nodes.Getattr)
    return {each.attr for each in found if isinstance(each.node, nodes.Name) and each.node.name == "env"}


def compiled(text: str) -> Template:
    """The template, ready to render."""
    return ENVIRONMENT.from_string(text)


def render(text: str | Template, values: Mapping[str, Any]) -> str:
    """Fill in a template. Raises RenderError, which names what has no value."""
    template = compiled(text) if isinstance(text, str) else text
    try:
        return template.render(values)
    except Exception as error:  # a template may fail as any expression does
        raise RenderError(re.sub(r"\s+", " ", str(error))) from error
