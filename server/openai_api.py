"""OpenAI's own paths, so that any OpenAI client can be pointed at the service: its chats can be aborted, too."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable
from time import monotonic_ns
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.types import Send

from server import answers, sse
from server.chat import ChatResponse
from server.failures import NO_JSON, UpstreamError
from server.refusals import refusal
from server.schemas import RequestId, UpstreamChat
from server.security import Owner
from server.upstream import ask_whole, list_models, one_model
from server.worker import worker_of

router = APIRouter(prefix="/v1")
ModelName = Annotated[str, Path(min_length=1, max_length=256)]


class CompletionRequest(UpstreamChat):
    """OpenAI's chat completion request."""

    stream: Annotated[bool, Field(strict=True)] = False


class WholeChatResponse(ChatResponse):
    """The answer to a chat that is not streamed: one JSON object, or an empty one when it was aborted."""

    _whole = b""
    _reason: str | None = None

    async def _forward(self, send: Send) -> None:  # noqa: ARG002 - nothing is sent on the way
        self._whole = await ask_whole(
            self._worker.client,
            self._body,
            self._trace.request_id,
            silence_s=self._worker.settings.upstream_idle_s,
            line=self._line,
        )
        self._trace.first_byte_ns = monotonic_ns()
        self._complete = True
        try:
            answer = json.loads(self._whole)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise UpstreamError(502, NO_JSON)
        self._reason = sse.finish_reason_in(answer)

    def _natural_end(self) -> str | None:
        return self._reason

    async def _start(self, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"x-request-id", self._trace.request_id.encode())]
        self._started = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _end(self, send: Send, last_events: bytes = b"") -> None:  # noqa: ARG002 - there are no events
        await self._start(send)
        await send({"type": "http.response.body", "body": self._whole, "more_body": False})

    async def _end_aborted(self, send: Send) -> None:
        message = {"role": "assistant", "content": "", "refusal": None}
        completion = {
            "id": f"chatcmpl-{self._trace.request_id}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._body["model"],
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "abort"}],
        }
        self._whole = bytes(JSONResponse(completion).body)
        await self._end(send)


_WHOLE = {"application/json": {"schema": {"type": "object"}, "example": answers.COMPLETION_EXAMPLE}}
_STREAM = {"text/event-stream": answers.CHAT[200]["content"]["text/event-stream"]}
_ANSWERS = answers.CHAT | {200: {**answers.CHAT[200], "content": _STREAM | _WHOLE}}


@router.post("/chat/completions", response_class=Response, responses=_ANSWERS)
async def completions(
    request: CompletionRequest, http: Request, owner: Owner, x_request_id: Annotated[RequestId | None, Header()] = None
) -> Response:
    """Relay a chat, streamed or not; `X-Request-Id` names it, and `POST /abort/` stops it."""
    body: dict[str, Any] = request.model_dump()
    kind = ChatResponse if request.stream else WholeChatResponse
    return kind(body, request_id=x_request_id or secrets.token_urlsafe(16), owner=owner, worker=worker_of(http))


@router.get("/models", response_class=Response, responses=answers.MODELS)
async def models(http: Request, owner: Owner) -> Response:  # noqa: ARG001 - only for those who may chat
    """Pass on the upstream's models."""
    return await _passed_on(list_models(worker_of(http).client))


@router.get("/models/{model:path}", response_class=Response, responses=answers.ONE_MODEL)
async def one(model: ModelName, http: Request, owner: Owner) -> Response:  # noqa: ARG001 - only for those who may chat
    """Pass on what the upstream says of one model."""
    try:
        return await _passed_on(one_model(worker_of(http).client, model))
    except ValueError:  # `..` and the like: no model, and no way to another path of the upstream either
        return refusal(404, "There is no such model")


async def _passed_on(asking: Awaitable[bytes]) -> Response:
    try:
        return Response(await asking, media_type="application/json")
    except UpstreamError as error:
        return error.response()
