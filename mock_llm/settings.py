"""The mock's settings: options and environment for the server, headers or a marker for one request."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

HEADER_PREFIX = "x-mock-"
_MARKER = re.compile(r"\[mock:([^\]]*)\]")


class SettingError(ValueError):
    """An unknown or invalid setting; the message contains its name, the limit and the choices."""


class Dist(StrEnum):
    """The distribution of a delay: its mean, uniform from 0 to twice the mean, or exponential."""

    CONSTANT = "constant"
    UNIFORM = "uniform"
    EXPONENTIAL = "exponential"


class Fault(StrEnum):
    """An injected fault: an HTTP error, an aborted connection, or an invalid event within the stream."""

    HTTP_500 = "http_500"
    HTTP_429 = "http_429"
    CUT = "cut"
    BAD_JSON = "bad_json"


class ReplySettings(BaseModel):
    """Settings of one response. Each is an option, MOCK_<FIELD>, a header X-Mock-<Field> and a marker's key."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    headers_ms: float = Field(
        0, ge=0, le=600_000, description="Time from the request to the response headers, ms; tokens follow them."
    )
    ttft_ms: float = Field(50, ge=0, le=600_000, description="Mean time from the request to its first token, ms.")
    itl_ms: float = Field(20, ge=0, le=60_000, description="Mean time between two tokens, ms.")
    output_tokens: int = Field(100, ge=1, le=32_768, description="Tokens of a response (max_tokens may reduce it).")
    ttft_dist: Dist = Field(Dist.CONSTANT, description="Distribution of the time to the first token.")
    itl_dist: Dist = Field(Dist.CONSTANT, description="Distribution of the time between tokens.")
    stall_at: int | None = Field(None, ge=0, description="Pause after this many tokens; unset: no stall.")
    stall_ms: float = Field(3000, ge=0, le=600_000, description="Duration of the pause of --stall-at, ms.")
    fault: Fault | None = Field(
        None, description="Injected fault: an HTTP error at once; cut and bad_json at --stall-at, else half-way."
    )
    fault_rate: float = Field(1, ge=0, le=1, description="Share of the requests with --fault.")
    seed: int = Field(1, description="Same seed: same text, and the same timing and faults for the same request id.")


class Settings(ReplySettings, BaseSettings):
    """Settings of the server; each can also be set in the environment as MOCK_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="MOCK_", extra="forbid", frozen=True, allow_inf_nan=False)

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(9000, ge=0, le=65_535, description="Port to listen on; 0 takes any free one.")
    model: str = Field("mock-gpt", min_length=1, description="The model in /v1/models (chats may use any name).")
    journal_rows: int = Field(
        20_000, ge=1, le=1_000_000, description="Requests in the journal; older ones are dropped."
    )

    max_body_bytes: int = Field(16 << 20, ge=1024, description="Largest accepted request body, bytes.")

    @model_validator(mode="after")
    def _rate_needs_fault(self) -> Self:
        if self.fault is None and "fault_rate" in self.model_fields_set:
            raise ValueError(f"fault_rate needs a fault: one of {', '.join(Fault)}")
        return self

    def reply(self) -> ReplySettings:
        """Return the settings that a request may override."""
        return ReplySettings.model_validate(self.model_dump(include=set(ReplySettings.model_fields)))


def overridden(base: ReplySettings, headers: Mapping[str, str], text: str) -> ReplySettings:
    """Return `base` with one request's overrides; a header takes precedence over the marker `[mock:itl_ms=20,...]`.

    Header names are lower case. Raises SettingError for an unknown name or an invalid value: ignoring a mistyped
    setting would falsify the measurement.
    """
    overrides = {
        name.removeprefix(HEADER_PREFIX).replace("-", "_"): value
        for name, value in headers.items()
        if name.startswith(HEADER_PREFIX)
    }
    if (marker := _MARKER.search(text)) is not None:
        overrides = _pairs(marker[1]) | overrides
    if not overrides:
        return base
    for name in overrides:
        if name not in ReplySettings.model_fields:
            raise SettingError(f"unknown mock setting {name!r}; choose from {', '.join(ReplySettings.model_fields)}")
    if "fault" in overrides:
        overrides.setdefault("fault_rate", "1")  # an explicit fault applies to this request
    try:
        return ReplySettings.model_validate(base.model_dump() | overrides)
    except ValidationError as error:
        raise SettingError(f"mock setting {one_line(error)}") from None


def one_line(error: ValidationError) -> str:
    """Return the first problem of a validation error as one line: name, problem, given value."""
    problem = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in problem["loc"])
    if not name:
        return problem["msg"].removeprefix("Value error, ")
    return f"{name}: {problem['msg']} (given: {str(problem['input'])[:60]!r})"


def _pairs(marker: str) -> dict[str, str]:
    pairs = {}
    for pair in filter(None, (part.strip() for part in marker.split(","))):
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingError(f"the marker's {pair[:60]!r} is not name=value; example: [mock:itl_ms=20,stall_at=5]")
        pairs[name.strip()] = value.strip()
    return pairs
