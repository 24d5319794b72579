"""Request schemas that several endpoints share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ID_PATTERN = r"^[!-~]{1,128}$"
RequestId = Annotated[str, Field(pattern=ID_PATTERN, description="1-128 visible ASCII characters")]


class Message(BaseModel):
    """One message; further fields are passed on unchecked."""

    model_config = ConfigDict(extra="allow")

    role: Annotated[str, Field(min_length=1, max_length=64)]


class UpstreamChat(BaseModel):
    """OpenAI's chat completion request; other parameters are passed on."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}]},
    )

    request_id: RequestId | None = None
    """The id for `POST /abort/`; not passed on to the upstream."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=2048)]
