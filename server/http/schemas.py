"""What the endpoints take, as far as several of them share it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ID_PATTERN = r"^[!-~]{1,128}$"
RequestId = Annotated[str, Field(pattern=ID_PATTERN, description="1-128 visible ASCII characters")]


class Message(BaseModel):
    """One message; what else it carries is the upstream's business."""

    model_config = ConfigDict(extra="allow")

    role: Annotated[str, Field(min_length=1, max_length=64)]


class UpstreamChat(BaseModel):
    """OpenAI's chat completion request; parameters that are not named here pass through."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}]},
    )

    request_id: RequestId | None = None
    """Ours, and not passed on: the id to stop the chat by."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=2048)]
