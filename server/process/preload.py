"""Imported by the fork server: what every worker imports, with as little garbage collection as possible."""

from __future__ import annotations

import gc
from contextlib import suppress
from importlib import import_module

MODULES = (
    "server.relay.upstream",
    "server.relay.upstream_client",
    "server.http.error_handlers",
    "server.http.owner",
    "server.http.schemas",
    "server.process.supervisor",
    "server.http.protocol",
    "server.strategy",
    "pydantic.v1",  # FastAPI imports it with the first route
    "uvloop",
)
"""Imports of every worker that take seconds. Not `server.ops.metrics`: its values belong to one process."""


def _import_all() -> None:
    """Import MODULES; a worker reports one that cannot be imported.

    Nothing of them is garbage: collections take a fifth of the time. Frozen, they are in no collection of a worker,
    each of which would also copy the memory that the workers share.
    """
    gc.disable()
    for name in MODULES:
        with suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()
    gc.enable()


_import_all()
