"""OpenAI's paths, for any OpenAI client; these chats can be aborted, too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from time import monotonic_ns
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from server.api import openapi_docs
from server.http.chat_ids import RequestIds, id_headers
from server.http.errors import error_response
from server.http.owner import Owner
from server.http.schemas import UpstreamChat
from server.http.strict_json import StrictJSONRoute
from server.relay.chat import ChatResponse
from server.relay.chunks import error_of_payload, finish_reason_of_payload
from server.relay.relay import Poll
from server.relay.upstream import get_model, list_models, request_completion
from server.relay.upstream_errors import ABORTED, NOT_JSON, UpstreamError, reported_error
from server.worker import worker_of

router = APIRouter(prefix="/v1", route_class=StrictJSONRoute)
ModelName = Annotated[str, Path(min_length=1, max_length=256)]


class CompletionRequest(UpstreamChat):
    """OpenAI's chat completion request."""

    stream: Annotated[bool, Field(strict=True)] = False


class WholeChatResponse(ChatResponse):
    """The answer to a chat that is not streamed: one JSON object, or status 499 after an abort."""

    _answer = b""
    _finish_reason: str | None = None
    _polling: asyncio.Task[None] | None = None

    async def _forward(self) -> None:
        self._answer = await request_completion(
            self._worker.client,
            self._body,
            self._trace.request_id,
            idle_timeout_s=self._worker.settings.upstream_idle_s,
            connection=self._connection,
        )
        self._trace.first_byte_ns = self._trace.first_text_ns = monotonic_ns()
        try:
            answer = json.loads(self._answer)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise UpstreamError(502, NOT_JSON)
        if error := error_of_payload(answer):
            raise reported_error(error)
        self._finish_reason = finish_reason_of_payload(answer)
        self._relay.complete = True

    def _upstream_finish_reason(self) -> str | None:
        return self._finish_reason

    def _start_helpers(self) -> None:
        """Poll for an abort once per interval: a strategy that polls with each chunk has only one chunk here."""
        if self._poll is not None:
            self._polling = asyncio.get_running_loop().create_task(self._poll_repeatedly(self._poll))

    async def _stop_helpers(self) -> None:
        if self._polling is not None and self._polling.cancel():
            await asyncio.wait([self._polling])

    async def _poll_repeatedly(self, poll: Poll) -> None:
        while not await poll():  # noqa: ASYNC110 - the store has no event to wait for
            await asyncio.sleep(self._worker.settings.abort_interval_ms / 1000)

    async def _end(self) -> None:
        headers = id_headers(self._trace.request_id)
        await self._reply.respond(Response(self._answer, headers=headers, media_type="application/json"))

    async def _end_aborted(self) -> None:
        await self._reply.fail(ABORTED)


_WHOLE = {"application/json": {"schema": {"type": "object"}, "example": openapi_docs.COMPLETION_EXAMPLE}}
_STREAM = {"text/event-stream": {"example": openapi_docs.V1_CHUNK_EXAMPLE}}
_RESPONSES = openapi_docs.CHAT | {
    200: {**openapi_docs.CHAT[200], "content": _STREAM | _WHOLE},
    499: openapi_docs.ABORTED,
}


@router.post("/chat/completions", response_class=Response, responses=_RESPONSES)
async def completions(request: CompletionRequest, http: Request, owner: Owner, ids: RequestIds) -> Response:
    """Relay a chat, streamed or not; `POST /abort/` stops it by the id in the response header `X-Chat-Id`.

    The id is `request_id`, else the header `X-Chat-Id`, else `X-Request-Id` if it is valid and free, else a new one.
    An aborted stream ends with a finish_reason of OpenAI's own (setting ABORT_FINISH_REASON) and `"aborted": true`.
    """
    body: dict[str, Any] = request.model_dump(exclude={"request_id"})
    worker = worker_of(http)
    kind = ChatResponse if request.stream else WholeChatResponse
    return kind(
        body,
        **ids.chat_id_for(request.request_id),
        owner=owner,
        worker=worker,
        abort_reason=worker.settings.abort_finish_reason,
    )


@router.get("/models", response_class=Response, responses=openapi_docs.MODELS)
async def models(http: Request, owner: Owner) -> Response:  # noqa: ARG001 - requires an API key
    """List the upstream's models."""
    return await _json_or_error(list_models(worker_of(http).client))


@router.get("/models/{model:path}", response_class=Response, responses=openapi_docs.ONE_MODEL)
async def one_model(model: ModelName, http: Request, owner: Owner) -> Response:  # noqa: ARG001 - requires an API key
    """Describe one of the upstream's models."""
    try:
        return await _json_or_error(get_model(worker_of(http).client, model))
    except ValueError:  # a name like `..`, which would lead to another path of the upstream
        return error_response(404, "There is no such model")


async def _json_or_error(request: Awaitable[bytes]) -> Response:
    try:
        return Response(await request, media_type="application/json")
    except UpstreamError as error:
        return error.response()
