"""The chat service's settings: environment variables, each also an option of `python -m server`."""

from __future__ import annotations

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


def listed(given: str) -> tuple[str, ...]:
    """The parts of a setting that is a list separated by commas."""
    return tuple(part.strip() for part in given.split(",") if part.strip())


class SettingError(Exception):
    """A setting cannot be used; the message is one line that names it and the next step, and holds no secret."""


class Settings(BaseSettings):
    """Read from the environment; secrets are never printed."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int | None, Field(ge=1, le=64)] = None
    """Worker processes; unset: see `worker_count`."""
    memory_with_workers: bool = False
    """Let several workers use a memory strategy, though a Stop then reaches its chat only on the same worker."""

    abort_backend: SecretStr = SecretStr("memory+push://")
    """The strategy and its store, e.g. `redis+push://127.0.0.1:6379/0`; may hold a password."""
    abort_namespace: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,29}$")] = "stopwatch"
    """Redis key prefix and PostgreSQL schema: deployments that share a server differ in it."""
    abort_ttl_s: Annotated[float, Field(gt=0)] = 60.0
    """A dead worker's chats are forgotten after this."""
    abort_remember_s: Annotated[float, Field(gt=0)] = 10.0
    """How long an abort that came before its chat is kept."""
    abort_interval_ms: Annotated[float, Field(gt=0)] = 100.0
    """The timer delivery's interval."""
    abort_heartbeat_s: Annotated[float, Field(gt=0)] = 3.0
    """How often each worker proves that an abort can reach it, at one store operation each."""
    abort_keepalive_s: Annotated[float, Field(gt=0)] = 5.0
    """A listener's connection that went silent is found within this."""
    abort_command_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """For one round trip to the store, and for a free connection to make it on."""

    abort_outage: Literal["refuse", "start"] = "refuse"
    """New chats while the store is away: refused with 503, or started and not abortable until the store is back."""

    api_keys: SecretStr = SecretStr("")
    """Keys that clients must present, separated by commas; none: anybody may chat, on the loopback interface only."""
    open_to_network: bool = False
    """Listen on other interfaces without API keys: anybody who reaches the service then spends on your upstream key."""
    max_chats_per_owner: Annotated[int, Field(ge=1)] = 2000
    """Live chats of one owner on one worker; beyond it 429."""

    openai_base_url: str = OPENAI_URL
    """Set to nothing, as a .env file or a CI secret may have it, it is OpenAI's own."""
    openai_api_key: SecretStr = SecretStr("")
    upstream_note: Annotated[str, Field(max_length=200)] = ""
    """What the page says of the upstream, e.g. that it is a mock; empty: its host, where no API keys are set."""
    upstream_connections: Annotated[int, Field(ge=1)] = 4096
    """Streams that one worker can hold; beyond it a chat waits for a free connection."""

    upstream_idle_s: Annotated[float, Field(gt=0)] = 120.0
    """An upstream that is silent for longer is given up: 504, or an SSE error event."""
    headers_grace_s: Annotated[float, Field(ge=0)] = 1.0
    """When the upstream is silent for longer, the headers of a streamed answer are sent before its first event."""
    keepalive_comment_s: Annotated[float, Field(gt=0)] = 15.0
    """After this much silence an SSE comment is sent, so that proxies keep the connection."""
    max_event_bytes: Annotated[int, Field(ge=1024)] = MAX_EVENT_BYTES
    """The longest event taken from the upstream, and the most that is kept in memory for one stream."""
    abort_finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] = "stop"
    """The finish_reason of a stopped stream on /v1, one of OpenAI's own; /chat/ says `abort`."""
    drain_s: Annotated[float, Field(ge=0)] = 5.0
    """At SIGTERM no new chats are started, and those that run get this long before they are ended with an error."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """A larger request body is refused with 413; images in data URLs count."""
    request_deadline_s: Annotated[float, Field(gt=0)] = 10.0
    """For a request's line and headers, and for its body (which has one more second for each 16 KiB); then 408."""
    cors_origins: str = ""
    """Web origins whose pages may call the service, separated by commas, or `*`; none: only its own page may."""
    allowed_hosts: str = ""
    """Names that a Host header may hold besides loopback ones, separated by commas; `*.example.com` and `*` work."""
    trace_dir: Path | None = None
    """Where each worker appends one JSON line per chat and per abort, with the time of every phase."""

    @property
    def in_memory(self) -> bool:
        """Whether each worker keeps its aborts to itself."""
        return self.abort_backend.get_secret_value().startswith("memory")

    @property
    def worker_count(self) -> int:
        """How many workers to run: as set, else one with a memory strategy, else two."""
        return self.workers or (1 if self.in_memory else DEFAULT_WORKERS)

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys, as clients present them."""
        return listed(self.api_keys.get_secret_value())

    @field_validator("allowed_hosts")
    @classmethod
    def _holds_hosts(cls, given: str) -> str:
        return _checked(given, _HOST, "is not a host name (example: chat.example.com,*.example.org)")

    @field_validator("cors_origins")
    @classmethod
    def _holds_origins(cls, given: str) -> str:
        origins = ",".join(origin if origin == "*" else origin.rstrip("/").lower() for origin in listed(given))
        return _checked(origins, _ORIGIN, "is not an origin (example: https://app.example.com,http://localhost:3000)")

    @field_validator("openai_base_url")
    @classmethod
    def _is_a_url(cls, given: str) -> str:
        """Refuse what could never be asked: every chat would be a 502."""
        if not given.strip():
            return OPENAI_URL
        with suppress(ValueError):  # not a port, not an address
            url = urlsplit(given)
            if url.scheme in ("http", "https") and url.hostname and url.port != 0:
                return given
        raise ValueError("is no URL of an OpenAI API; give one such as http://127.0.0.1:9000/v1")

    @field_validator("api_keys")
    @classmethod
    def _holds_a_key(cls, given: SecretStr) -> SecretStr:
        """Who writes "," or " " means to have keys: to serve anybody instead would be the opposite."""
        if given.get_secret_value() and not given.get_secret_value().replace(",", " ").strip():
            raise ValueError("is set, but holds no key")
        return given

    def without_keys(self) -> Settings:
        """A copy to keep: the API keys are not in it."""
        return self.model_copy(update={"api_keys": SecretStr("")})


def _checked(given: str, pattern: re.Pattern[str], fault: str) -> str:
    for part in listed(given):
        if not pattern.fullmatch(part):
            raise ValueError(f"{part[:100]!r} {fault}")
    return given
