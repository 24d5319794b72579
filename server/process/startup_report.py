"""One line to the supervisor on why a worker cannot start, in place of a traceback from every worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from backends import BackendError
from server.ops.logs import LOG
from server.settings import SettingError
from server.strategy import startup_error

MAX_LINE_CHARS = 500
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, float]]]
send: Callable[[str], object] | None = None
"""Sends the line; None without our supervisor: the ASGI server then shows the traceback."""


def report(error: Exception) -> None:
    """Send the supervisor why this worker cannot start."""
    if send is None:
        return
    if isinstance(error, BackendError):
        cause = startup_error(error)
    elif isinstance(error, SettingError):
        cause = str(error)
    else:
        cause = f"a worker cannot start: {type(error).__name__}: {error}; LOG_LEVEL=debug shows where"
    LOG.debug("cannot start", exc_info=error)
    logging.getLogger("uvicorn.error").disabled = True  # it would print the traceback at any level
    send(" ".join(cause.split())[:MAX_LINE_CHARS])


def report_startup_errors(lifespan: Lifespan) -> Lifespan:
    """Wrap `lifespan` so that exceptions on entry are reported."""

    @asynccontextmanager
    async def reporting(app: FastAPI) -> AsyncIterator[dict[str, float]]:
        entered = False
        try:
            async with lifespan(app) as state:
                entered = True
                yield state
        except Exception as error:
            if not entered:
                report(error)
            raise

    return reporting
