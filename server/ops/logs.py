"""Structured logs: JSON lines on stderr, one for each chat and each abort."""

from __future__ import annotations

import logging

from pythonjsonlogger.json import JsonFormatter

LOG = logging.getLogger("stopwatch")
_OTHER_LOGGERS = ("asyncpg", "backends", "uvicorn", "asyncio", "fastapi", "opentelemetry")
"""Other loggers whose warnings and tracebacks are written as JSON lines."""


def start_logging(level: str) -> None:
    """Write this process's log to stderr as JSON lines; they never contain a chat's content or a key."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("{asctime}{levelname}{message}{process}", style="{"))
    LOG.setLevel(level.upper())
    for logger in (LOG, *map(logging.getLogger, _OTHER_LOGGERS)):
        logger.handlers = [handler]
        logger.propagate = False
