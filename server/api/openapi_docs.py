"""The OpenAPI document's responses: status, schema, example."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

ID = "0f3c-example"
CHUNK_EXAMPLE = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    '[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}]}\n\n'
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    '[{"index":0,"delta":{},"logprobs":null,"finish_reason":"abort"}],"delivered_chunks":1}\n\ndata: [DONE]\n\n'
)
V1_CHUNK_EXAMPLE = CHUNK_EXAMPLE.replace('"abort"', '"stop"').replace(
    '"delivered_chunks":1', '"delivered_chunks":1,"aborted":true'
)
COMPLETION_EXAMPLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
}


class OpenAIError(BaseModel):
    """OpenAI's error object; an upstream's error keeps its own message and further fields."""

    message: str
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class Refusal(BaseModel):
    """`detail` is a sentence, or the list of invalid fields; `error` is the same in OpenAI's shape."""

    detail: str | list[dict[str, Any]]
    error: OpenAIError


class UpstreamRefusal(BaseModel):
    """An error in OpenAI's shape."""

    error: OpenAIError


class Unavailable(BaseModel):
    """The abort was not recorded; try again after Retry-After."""

    detail: str


def _json(model: type[BaseModel], description: str, example: object) -> dict[str, Any]:
    return {"model": model, "description": description, "content": {"application/json": {"example": example}}}


def _error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": kind, "code": code, "param": None}


def _refused(description: str, detail: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return _json(Refusal, description, {"detail": detail, "error": _error(detail, kind)})


def _upstream(description: str, message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return _json(UpstreamRefusal, description, {"error": _error(message, kind, code)})


_INVALID = {
    "detail": [{"type": "missing", "loc": ["body", "model"], "msg": "Field required", "input": {}}],
    "error": _error("body.model: Field required", "invalid_request_error"),
}
_NO_KEY = _refused("missing or unknown API key", "This service needs an API key: Authorization: Bearer <key>")
_TOO_LARGE = _refused("the body is too large", "The body is larger than 16777216 bytes (MAX_BODY_BYTES)")

UNAVAILABLE = _upstream(
    "the upstream failed or could not be reached", "the connection to the upstream could not be made or was lost",
    "upstream_unreachable",
)  # fmt: skip
_LATE = _upstream("the upstream did not answer in time", "the upstream did not answer in time", "upstream_timeout")
_LIMITED = _upstream(
    "too many live chats, or the upstream's rate limit; see Retry-After", "Too many live chats: end one, or wait",
    "refused",
)  # fmt: skip
_UNKNOWN_MODEL = _upstream(
    "the upstream has no such model", "The model `m` does not exist", "invalid_request_error", "model_not_found"
)
ANYWHERE: dict[int | str, dict[str, Any]] = {
    431: _refused("the headers are too large", "The headers are larger than 32768 bytes")
}
"""Possible responses of every endpoint."""
CHAT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer as server-sent events; the last chunk's `finish_reason` is why it ended.",
        "content": {"text/event-stream": {"example": CHUNK_EXAMPLE}, "text/plain": {"example": "Hello!"}},
    },
    400: _upstream(
        "refused by the upstream; this and other 4xx are passed on with its reason",
        "Invalid value: 'max_tokens'", "invalid_request_error",
    ),
    401: _NO_KEY,
    404: _UNKNOWN_MODEL,
    409: _refused("a chat with this request id is live", "A chat with this request ID is live", "refused"),
    413: _TOO_LARGE,
    422: _json(Refusal, "invalid JSON, or not according to the schema", _INVALID),
    429: _LIMITED,
    502: UNAVAILABLE,
    503: _refused(
        "the store cannot be reached, or this worker is shutting down; try again after Retry-After",
        "The abort store cannot be reached", "refused",
    ),
    504: _LATE,
}  # fmt: skip
ABORTED = _upstream(
    "the chat was aborted before its whole answer was sent", "the chat was aborted", "aborted", "aborted"
)
MODELS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The upstream's answer.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"object": "list", "data": []}}},
    },
    401: _NO_KEY,
    429: _upstream("the upstream's rate limit; see Retry-After", "Rate limit reached", "requests"),
    502: UNAVAILABLE,
    504: _LATE,
}
ONE_MODEL = MODELS | {
    200: {
        "description": "The upstream's answer.",
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": {"id": "gpt-4o-mini", "object": "model"}}
        },
    },
    404: _UNKNOWN_MODEL,
    422: CHAT[422],
}
ABORT: dict[int | str, dict[str, Any]] = {
    401: _NO_KEY,
    413: _TOO_LARGE,
    422: _json(Refusal, "invalid JSON, or not according to the schema", _INVALID),
    503: _json(
        Unavailable, "the store cannot be reached, so the abort was not recorded; try again after Retry-After",
        {"detail": "The abort could not be recorded: the store cannot be reached. Try again."},
    ),
}  # fmt: skip
