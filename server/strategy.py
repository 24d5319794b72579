"""Opens the abort strategy that the settings name: what the supervisor tries once and every worker then does."""

from __future__ import annotations

import backends
from backends import Delivery, Options
from server.settings import Settings


def open_delivery(settings: Settings) -> Delivery:
    """The configured strategy, not yet entered. Raises `BackendUrlError`."""
    return backends.from_url(
        settings.abort_backend.get_secret_value(),
        Options(
            namespace=settings.abort_namespace,
            ttl_s=settings.abort_ttl_s,
            remember_s=settings.abort_remember_s,
            interval_ms=settings.abort_interval_ms,
            command_timeout_s=settings.abort_command_timeout_s,
            keepalive_s=settings.abort_keepalive_s,
            start_unregistered=settings.abort_outage == "start",
        ),
    )
