"""The mock's settings: flags and environment for the whole server, headers or a marker for one request."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

HEADER_PREFIX = "x-mock-"
_MARKER = re.compile(r"\[mock:([^\]]*)\]")


class SettingError(ValueError):
    """A setting that is unknown or out of bounds; the message names it, the bound and the choices."""


class Dist(StrEnum):
    """How a waiting time is spread around its mean: always the mean, 0 to twice the mean, or memoryless."""

    CONSTANT = "constant"
    UNIFORM = "uniform"
    EXPONENTIAL = "exponential"


class Fault(StrEnum):
    """What goes wrong: an HTTP error instead of an answer, a dropped connection, or a broken event mid-stream."""

    HTTP_500 = "http_500"
    HTTP_429 = "http_429"
    CUT = "cut"
    BAD_JSON = "bad_json"


class ReplySettings(BaseModel):
    """How one answer is given. Every field is a flag, MOCK_<FIELD>, a header X-Mock-<Field> and a marker's key."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    ttft_ms: float = Field(50, ge=0, le=600_000, description="Mean time from the request to its first token, ms.")
    itl_ms: float = Field(20, ge=0, le=60_000, description="Mean time between two tokens, ms.")
    output_tokens: int = Field(100, ge=1, le=32_768, description="Tokens of an answer (max_tokens may cut it).")
    ttft_dist: Dist = Field(Dist.CONSTANT, description="How the first token's time is spread around its mean.")
    itl_dist: Dist = Field(Dist.CONSTANT, description="How the time between tokens is spread around its mean.")
    stall_at: int | None = Field(None, ge=0, description="Go silent after this many tokens; unset: no stall.")
    stall_ms: float = Field(3000, ge=0, le=600_000, description="How long the silence of --stall-at lasts, ms.")
    fault: Fault | None = Field(None, description="What goes wrong; cut and bad_json at --stall-at, else half-way.")
    fault_rate: float = Field(1, ge=0, le=1, description="Share of the requests that get --fault.")
    seed: int = Field(1, description="Same seed: same text, and the same timing and faults for the same request id.")


class Settings(ReplySettings, BaseSettings):
    """The whole server's settings; each is also read from the environment as MOCK_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="MOCK_", extra="forbid", frozen=True, allow_inf_nan=False)

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(9000, ge=0, le=65_535, description="Port to listen on; 0 takes any free one.")
    model: str = Field("mock-gpt", min_length=1, description="The model that /v1/models lists (chats may name any).")
    journal_rows: int = Field(20_000, ge=1, le=1_000_000, description="Requests the journal keeps, newest first.")

    max_body_bytes: int = Field(16 << 20, ge=1024, description="Longest request body that is taken, bytes.")

    @model_validator(mode="after")
    def _rate_needs_fault(self) -> Self:
        if self.fault is None and "fault_rate" in self.model_fields_set:
            raise ValueError(f"fault_rate needs a fault: one of {', '.join(Fault)}")
        return self

    def reply(self) -> ReplySettings:
        """Return the part that a request may override."""
        return ReplySettings.model_validate(self.model_dump(include=set(ReplySettings.model_fields)))


def overridden(base: ReplySettings, headers: Mapping[str, str], text: str) -> ReplySettings:
    """Return `base` with what one request asks for; a header beats the marker `[mock:itl_ms=20,...]` in `text`.

    Header names are lower case. Raises SettingError for an unknown name or a value out of bounds: a mistyped
    setting that is silently ignored would be measured as if it had been obeyed.
    """
    asked = {
        name.removeprefix(HEADER_PREFIX).replace("-", "_"): value
        for name, value in headers.items()
        if name.startswith(HEADER_PREFIX)
    }
    if (marker := _MARKER.search(text)) is not None:
        asked = _pairs(marker[1]) | asked
    if not asked:
        return base
    for name in asked:
        if name not in ReplySettings.model_fields:
            raise SettingError(f"unknown mock setting {name!r}; choose from {', '.join(ReplySettings.model_fields)}")
    if "fault" in asked:
        asked.setdefault("fault_rate", "1")  # who asks for a fault by name means this very request
    try:
        return ReplySettings.model_validate(base.model_dump() | asked)
    except ValidationError as error:
        raise SettingError(f"mock setting {one_line(error)}") from None


def one_line(error: ValidationError) -> str:
    """Return a validation error's first problem as one line: name, what it should be, what was given."""
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
            raise SettingError(
                f"the marker's {pair[:60]!r} is not name=value; write it like [mock:itl_ms=20,stall_at=5]"
            )
        pairs[name.strip()] = value.strip()
    return pairs
