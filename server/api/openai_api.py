"""OpenAI's own paths, so that any OpenAI client can be pointed at the service: its chats can be aborted, too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from time import monotonic_ns
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from server.api import answers
from server.http.chat_ids import RequestIds, id_headers
from server.http.refusals import refusal
from server.http.schemas import UpstreamChat
from server.http.security import Owner
from server.http.strict_json import StrictJSONRoute
from server.relay.chat import ChatResponse
from server.relay.chunks import error_in, finish_reason_in
from server.relay.failures import ABORTED, NO_JSON, UpstreamError, stated
from server.relay.relay import Poll
from server.relay.upstream import ask_whole, list_models, one_model
from server.worker import worker_of

router = APIRouter(prefix="/v1", route_class=StrictJSONRoute)
ModelName = Annotated[str, Path(min_length=1, max_length=256)]


class CompletionRequest(UpstreamChat):
    """OpenAI's chat completion request."""

    stream: Annotated[bool, Field(strict=True)] = False


class WholeChatResponse(ChatResponse):
    """The answer to a chat that is not streamed: one JSON object, or status 499 when it was aborted."""

    _whole = b""
    _reason_given: str | None = None
    _polling: asyncio.Task[None] | None = None

    async def _forward(self) -> None:
        self._whole = await ask_whole(
            self._worker.client,
            self._body,
            self._trace.request_id,
            silence_s=self._worker.settings.upstream_idle_s,
            line=self._line,
        )
        self._trace.first_byte_ns = self._trace.first_text_ns = monotonic_ns()
        try:
            answer = json.loads(self._whole)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise UpstreamError(502, NO_JSON)
        if error := error_in(answer):
            raise stated(error)
        self._reason_given = finish_reason_in(answer)
        self._relay.complete = True

    def _natural_end(self) -> str | None:
        return self._reason_given

    def _begin(self) -> None:
        """Look for an abort once per interval where the strategy reads it with each chunk: here there is only one."""
        if self._poll is not None:
            self._polling = asyncio.get_running_loop().create_task(self._keep_polling(self._poll))

    async def _cease(self) -> None:
        if self._polling is not None and self._polling.cancel():
            await asyncio.wait([self._polling])

    async def _keep_polling(self, poll: Poll) -> None:
        while not await poll():  # noqa: ASYNC110 - the store has no event to wait for
            await asyncio.sleep(self._worker.settings.abort_interval_ms / 1000)

    async def _end(self) -> None:
        headers = id_headers(self._trace.request_id)
        await self._reply.respond(Response(self._whole, headers=headers, media_type="application/json"))

    async def _end_aborted(self) -> None:
        await self._reply.fail(ABORTED)


_WHOLE = {"application/json": {"schema": {"type": "object"}, "example": answers.COMPLETION_EXAMPLE}}
_STREAM = {"text/event-stream": {"example": answers.V1_CHUNK_EXAMPLE}}
_ANSWERS = answers.CHAT | {200: {**answers.CHAT[200], "content": _STREAM | _WHOLE}, 499: answers.ABORTED_WHOLE}


@router.post("/chat/completions", response_class=Response, responses=_ANSWERS)
async def completions(request: CompletionRequest, http: Request, owner: Owner, ids: RequestIds) -> Response:
    """Relay a chat, streamed or not; `POST /abort/` stops it by the id in the response's `X-Chat-Id`.

    The id is `request_id`, else the header `X-Chat-Id`, else `X-Request-Id` if it is valid and free, else a fresh one.
    A stopped stream ends with a finish_reason of OpenAI's own (setting ABORT_FINISH_REASON) and `"aborted": true`.
    """
    body: dict[str, Any] = request.model_dump(exclude={"request_id"})
    worker = worker_of(http)
    kind = ChatResponse if request.stream else WholeChatResponse
    return kind(
        body,
        **ids.of_chat(request.request_id),
        owner=owner,
        worker=worker,
        abort_reason=worker.settings.abort_finish_reason,
    )


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
