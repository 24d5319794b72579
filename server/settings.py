"""The chat service's settings, read from environment variables."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.sse import MAX_EVENT_BYTES

DEFAULT_WORKERS = 2
OPENAI_URL = "https://api.openai.com/v1"
Port = Annotated[int, Field(ge=0, le=65535)]
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/\s?#@]+")


def split_list(value: str) -> tuple[str, ...]:
    """Split a comma-separated setting."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


class SettingError(Exception):
    """A setting cannot be used; the message is one line with the setting and what to do, without secrets."""


class Settings(BaseSettings):
    """All settings; secrets are never printed."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int | None, Field(ge=1, le=64)] = None
    """Worker processes; unset: see `worker_count`."""
    memory_with_workers: bool = False
    """Allow a memory strategy with several workers, although an abort then reaches its chat only on the same worker."""

    abort_backend: SecretStr = SecretStr("memory+push://")
    """The strategy and its store, such as `redis+push://127.0.0.1:6379/0`; may contain a password."""
    abort_namespace: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,29}$")] = "stopwatch"
    """Redis key prefix and PostgreSQL schema; must differ between deployments that share a server."""
    abort_ttl_s: Annotated[float, Field(gt=0)] = 60.0
    """A dead worker's records expire after this."""
    abort_remember_s: Annotated[float, Field(gt=0)] = 10.0
    """How long an abort that came before its chat stays valid."""
    abort_interval_ms: Annotated[float, Field(gt=0)] = 100.0
    """Interval of the timer delivery."""
    abort_heartbeat_s: Annotated[float, Field(gt=0)] = 3.0
    """Interval of each worker's heartbeat through the store; each costs one store operation."""
    abort_keepalive_s: Annotated[float, Field(gt=0)] = 5.0
    """A half-open listener connection is detected within this."""
    abort_command_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """Limit for one round trip to the store, and for waiting for a free connection."""

    abort_outage: Literal["refuse", "start"] = "refuse"
    """New chats while the store is unreachable: refused with 503, or started and not abortable until it is back."""

    api_keys: SecretStr = SecretStr("")
    """Comma-separated keys; clients must send one. Empty: no key needed, and only the loopback interface is served."""
    open_to_network: bool = False
    """Listen on other interfaces without API keys: every client then uses your upstream key."""
    max_chats_per_owner: Annotated[int, Field(ge=1)] = 2000
    """Limit on live chats of one owner on one worker; then 429."""
    chat_starts_per_owner_s: Annotated[float, Field(ge=0)] = 0.0
    """Limit on one owner's chat starts per second on one worker, with bursts of one second; then 429. 0: no limit."""

    openai_base_url: str = OPENAI_URL
    """The upstream's URL; empty, as in a .env file or a missing CI secret, it is OpenAI's."""
    openai_api_key: SecretStr = SecretStr("")
    upstream_note: Annotated[str, Field(max_length=200)] = ""
    """Description of the upstream on the page; empty: the upstream's host, if no API keys are set."""
    upstream_connections: Annotated[int, Field(ge=1)] = 4096
    """Limit on one worker's upstream connections; further chats wait for a free one."""

    upstream_idle_s: Annotated[float, Field(gt=0)] = 120.0
    """An upstream that is silent for longer is disconnected: 504, or an SSE error event."""
    headers_grace_s: Annotated[float, Field(ge=0)] = 1.0
    """A streamed answer's headers are sent after this much silence, before the first event."""
    keepalive_comment_s: Annotated[float, Field(gt=0)] = 15.0
    """An SSE comment is sent after this much silence, so that proxies keep the connection open."""
    max_event_bytes: Annotated[int, Field(ge=1024)] = MAX_EVENT_BYTES
    """Limit on one event of the upstream, and on the memory for one stream."""
    abort_finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] = "stop"
    """finish_reason of an aborted stream on /v1, one of OpenAI's own; on /chat/ it is `abort`."""
    drain_s: Annotated[float, Field(ge=0)] = 5.0
    """After SIGTERM running chats have this long to end; then they end with an error. New chats are refused."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Limit on a request body, images in data URLs included; then 413."""
    request_deadline_s: Annotated[float, Field(gt=0)] = 10.0
    """Limit for a request's head, and for its body (plus one second per 16 KiB); then 408."""
    cors_origins: str = ""
    """Comma-separated web origins whose pages may call the service, or `*`; empty: only the service's own page."""
    allowed_hosts: str = ""
    """Comma-separated names for the Host header besides loopback ones; `*.example.com` and `*` are allowed."""
    trace_dir: Path | None = None
    """Folder in which each worker appends one JSON line per chat and abort, with the times of its phases."""

    @property
    def in_memory(self) -> bool:
        """Whether the store is the memory of one worker."""
        return self.abort_backend.get_secret_value().startswith(("memory+", "memory:"))

    @property
    def worker_count(self) -> int:
        """Number of workers: as set, else one for a memory strategy, else two."""
        return self.workers or (1 if self.in_memory else DEFAULT_WORKERS)

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys."""
        return split_list(self.api_keys.get_secret_value())

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        return _checked(value, _HOST, "is not a host name (example: chat.example.com,*.example.org)")

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        origins = ",".join(origin if origin == "*" else origin.rstrip("/").lower() for origin in split_list(value))
        return _checked(origins, _ORIGIN, "is not an origin (example: https://app.example.com,http://localhost:3000)")

    @field_validator("openai_base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        """Reject an invalid URL: every chat would be answered 502."""
        if not value.strip():
            return OPENAI_URL
        with suppress(ValueError):  # an invalid port or address
            url = urlsplit(value)
            if url.scheme in ("http", "https") and url.hostname and url.port != 0:
                return value
        raise ValueError("is not the URL of an OpenAI API (example: http://127.0.0.1:9000/v1)")

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr) -> SecretStr:
        """Reject a list without keys, such as ",": serving without keys would be the opposite of its purpose."""
        if value.get_secret_value() and not value.get_secret_value().replace(",", " ").strip():
            raise ValueError("is set, but contains no key")
        return value

    def check_exposure(self) -> None:
        """Raise `SettingError` for a service open to the network without API keys: any client could use it."""
        if not _is_loopback(self.host) and not self.keys and not self.open_to_network:
            raise SettingError(
                f"--host {self.host} is open to the network and there are no API_KEYS: set API_KEYS, "
                "or set OPEN_TO_NETWORK=true to let any client chat"
            )

    def check_memory(self) -> None:
        """Raise `SettingError` for a memory strategy with several workers, which lose aborts to each other's chats."""
        workers = self.worker_count
        if self.in_memory and workers > 1 and not self.memory_with_workers:
            raise SettingError(
                f"a memory strategy with {workers} workers loses about {1 - 1 / workers:.0%} of the aborts, because "
                "they reach another worker than their chat; use --workers 1, or a store that workers share "
                "(redis+push://..., postgres+push://...), or set MEMORY_WITH_WORKERS=true to run it anyway"
            )

    def without_keys(self) -> Settings:
        """Return a copy without the API keys."""
        return self.model_copy(update={"api_keys": SecretStr("")})


def _checked(value: str, pattern: re.Pattern[str], problem: str) -> str:
    for part in split_list(value):
        if not pattern.fullmatch(part):
            raise ValueError(f"{part[:100]!r} {problem}")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
