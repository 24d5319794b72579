"""What the endpoints take and give, as far as several of them share it; also what the OpenAPI document shows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

RequestId = Annotated[str, Field(pattern=r"^[!-~]{1,128}$", description="1-128 visible ASCII characters")]

CHUNK_EXAMPLE = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    '[{"index":0,"delta":{},"logprobs":null,"finish_reason":"abort"}]}\n\ndata: [DONE]\n\n'
)


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

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=2048)]


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str


class UpstreamRefusal(BaseModel):
    """OpenAI's error shape, with the upstream's own words where it had any."""

    error: dict[str, Any]


def refusal(description: str) -> dict[str, Any]:
    """An entry of an endpoint's `responses`."""
    return {"model": Refusal, "description": description}


CHAT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, as server-sent events; the last chunk says why it ended.",
        "content": {"text/event-stream": {"example": CHUNK_EXAMPLE}, "text/plain": {"example": "Hello!"}},
    },
    400: {"model": UpstreamRefusal, "description": "refused by the upstream, whose status and reason are passed on"},
    401: refusal("no API key, or an unknown one"),
    409: refusal("a chat with this request id is live"),
    413: refusal("the body is too large"),
    429: {"model": UpstreamRefusal, "description": "too many live chats, or the upstream's own limit; see Retry-After"},
    502: {"model": UpstreamRefusal, "description": "the upstream failed or could not be reached"},
    503: refusal("the store cannot be reached, or this worker is shutting down; try again after Retry-After"),
    504: {"model": UpstreamRefusal, "description": "the upstream did not answer in time"},
}
