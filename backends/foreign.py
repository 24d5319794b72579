"""Stores from other packages, named by their class: `mypackage.mystore:MyStore+push://address`."""

from __future__ import annotations

import re
from importlib import import_module
from typing import NamedTuple

from backends.base import Options, Store
from backends.errors import BackendUrlError

_FORM = re.compile(
    r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)(?:\+(?P<delivery>[a-z]+))?(?:://(?P<url>.*))?",
    re.ASCII | re.DOTALL,
)


class ForeignName(NamedTuple):
    """The parts of `module:Class+delivery://url`; `url` is what follows `://`, empty by default."""

    module: str
    name: str
    delivery: str
    url: str


def parse(text: str) -> ForeignName | None:
    """The parts of the name of a foreign store; None for any other text, for example `redis://127.0.0.1:6379/0`."""
    found = _FORM.fullmatch(text)
    return found and ForeignName(found["module"], found["name"], found["delivery"] or "push", found["url"] or "")


def create(foreign: ForeignName, options: Options, *, notify: bool) -> Store:
    """Import the class and create the store, not yet entered. Raises `BackendUrlError`, without a part of its URL."""
    label = f"{foreign.module}:{foreign.name}"
    try:
        module = import_module(foreign.module)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BackendUrlError(
            f"the store {label} cannot be imported ({reason}): install its package, or add its folder to PYTHONPATH"
        ) from error
    found = getattr(module, foreign.name, None)
    if found is None:
        raise BackendUrlError(f"the module {foreign.module} has no class {foreign.name}")
    if not (isinstance(found, type) and issubclass(found, Store)):
        raise BackendUrlError(f"{label} is not a store: it must be a subclass of backends.base.Store")
    missing = sorted(found.__abstractmethods__) + ([] if hasattr(found, "name") else ["name"])
    if missing:
        raise BackendUrlError(f"{label} is not a store: it lacks {', '.join(missing)}; see docs/backends.md")
    try:
        # The contract leaves the constructor's signature to each store; this is the one of a foreign store.
        return found(foreign.url, options, notify=notify)  # type: ignore[arg-type, misc]
    except BackendUrlError:
        raise
    except Exception as error:
        # The error's text may contain the URL with its password, and so may the traceback of its cause.
        raise BackendUrlError(
            f"{label} cannot be created ({type(error).__name__}): its constructor takes (url, options, *, notify)"
        ) from None
