"""Structured logs: one JSON object per line on stderr, one line for each chat and each abort."""

from __future__ import annotations

import logging

from pythonjsonlogger.json import JsonFormatter

LOG = logging.getLogger("stopwatch")
_OTHERS = ("asyncpg", "backends", "uvicorn", "asyncio", "fastapi", "opentelemetry")
"""Whose warnings and tracebacks come as JSON lines, too."""


def start_logging(level: str) -> None:
    """Send this worker's log to stderr as JSON lines; nothing else is written, and never a message or a key."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("{asctime}{levelname}{message}{process}", style="{"))
    LOG.setLevel(level.upper())
    for logger in (LOG, *map(logging.getLogger, _OTHERS)):
        logger.handlers = [handler]
        logger.propagate = False
