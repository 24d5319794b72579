"""Sends the supervisor one line on why its worker cannot start, in place of a traceback from every worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from backends import BackendError
from server.ops.logs import LOG
from server.settings import SettingError
from server.strategy import start_error

LONGEST = 500
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, float]]]
send: Callable[[str], object] | None = None
"""Takes the line; None without a supervisor, who then sees the traceback as any ASGI server shows it."""


def report(error: Exception) -> None:
    """Send the supervisor what keeps this worker from starting."""
    if send is None:
        return
    if isinstance(error, BackendError):
        cause = start_error(error)
    elif isinstance(error, SettingError):
        cause = str(error)
    else:
        cause = f"a worker cannot start: {type(error).__name__}: {error}; LOG_LEVEL=debug shows where"
    LOG.debug("cannot start", exc_info=error)
    logging.getLogger("uvicorn.error").disabled = True  # it would print the traceback, at any level
    send(" ".join(cause.split())[:LONGEST])


def reported(lifespan: Lifespan) -> Lifespan:
    """The same lifespan, which reports what is raised while it is being entered."""

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
