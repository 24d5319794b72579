"""The abort strategy from the settings; opened once by the supervisor as a check, then by every worker."""

from __future__ import annotations

import backends
from backends import BackendError, BackendUrlError, Delivery, Options, StoreRefusedError
from server.settings import Settings


def open_delivery(settings: Settings) -> Delivery:
    """Create the configured strategy, not yet entered. Raises `BackendUrlError`."""
    return backends.from_url(
        settings.abort_backend.get_secret_value(),
        Options(
            namespace=settings.abort_namespace,
            ttl_s=settings.abort_ttl_s,
            remember_s=settings.abort_remember_s,
            interval_ms=settings.abort_interval_ms,
            command_timeout_s=settings.abort_command_timeout_s,
            heartbeat_s=settings.abort_heartbeat_s,
            keepalive_s=settings.abort_keepalive_s,
            start_unregistered=settings.abort_outage == "start",
        ),
    )


def startup_error(error: BackendError) -> str:
    """Describe in one line why the strategy cannot start, and what to do."""
    if isinstance(error, BackendUrlError | StoreRefusedError):
        return str(error)  # it contains both
    return f"{error}; start the store, or correct its address in --backend or ABORT_BACKEND"
