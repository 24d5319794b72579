"""The service's own endpoints: POST /chat/ and POST /abort/."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from server.api import answers
from server.api.abort import PATH, Aborted, AbortRequest, AbortResponse, NotFound
from server.http.chat_ids import RequestIds
from server.http.schemas import UpstreamChat
from server.http.security import Owner
from server.http.strict_json import StrictJSONRoute
from server.relay.chat import ChatResponse
from server.worker import worker_of

router = APIRouter(route_class=StrictJSONRoute)


@router.post("/chat/", response_class=Response, responses=answers.CHAT)
async def chat(
    request: UpstreamChat, http: Request, owner: Owner, ids: RequestIds, accept: Annotated[str, Header()] = ""
) -> Response:
    """Stream an answer under an id, which the headers `X-Chat-Id` and `X-Request-Id` repeat.

    The id is `request_id`, else the header `X-Chat-Id`, else `X-Request-Id` if it is valid and free, else a fresh one.

    The last chunk's `finish_reason` says why it ended: `abort` if it was stopped. `Accept: text/plain` gives bare text.
    """
    body: dict[str, Any] = request.model_dump(exclude={"request_id"})
    return ChatResponse(
        body | {"stream": True},
        **ids.of_chat(request.request_id),
        owner=owner,
        worker=worker_of(http),
        as_text=accept.startswith("text/plain"),
    )


@router.post(
    PATH,
    response_model=Aborted,
    responses=answers.ABORT | {404: {"model": NotFound, "description": "unknown, finished, or somebody else's"}},
)
async def abort(request: AbortRequest, http: Request, owner: Owner) -> Response:
    """Stop the chat with this `request_id`, whichever worker holds it."""
    return AbortResponse(request, owner, worker_of(http))
