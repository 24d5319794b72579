"""The service's own endpoints: POST /chat/ and POST /abort/."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from server import answers
from server.abort import PATH, Aborted, AbortRequest, AbortResponse, NotFound
from server.chat import ChatResponse
from server.schemas import RequestId, UpstreamChat
from server.security import Owner
from server.worker import worker_of

router = APIRouter()


class ChatRequest(UpstreamChat):
    """OpenAI's chat completion request, and an id to stop it by."""

    request_id: RequestId | None = None


@router.post("/chat/", response_class=Response, responses=answers.CHAT)
async def chat(request: ChatRequest, http: Request, owner: Owner, accept: Annotated[str, Header()] = "") -> Response:
    """Stream an answer under a `request_id`, which the header `X-Request-Id` repeats.

    The last chunk's `finish_reason` says why it ended: `abort` if it was stopped. `Accept: text/plain` gives bare text.
    """
    body: dict[str, Any] = request.model_dump(exclude={"request_id"})
    return ChatResponse(
        body | {"stream": True},
        request_id=request.request_id or secrets.token_urlsafe(16),
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
