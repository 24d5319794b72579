"""The service's own endpoints: POST /chat/ and POST /abort/."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from server.api import openapi_docs
from server.api.abort import PATH, Aborted, AbortRequest, AbortResponse, NotFound
from server.http.chat_ids import RequestIds
from server.http.owner import Owner
from server.http.schemas import UpstreamChat
from server.http.strict_json import StrictJSONRoute
from server.relay.chat import ChatResponse
from server.worker import worker_of

router = APIRouter(route_class=StrictJSONRoute)


@router.post("/chat/", response_class=Response, responses=openapi_docs.CHAT)
async def chat(
    request: UpstreamChat, http: Request, owner: Owner, ids: RequestIds, accept: Annotated[str, Header()] = ""
) -> Response:
    """Stream an answer under an id, which is in the response headers `X-Chat-Id` and `X-Request-Id`.

    The id is `request_id`, else the header `X-Chat-Id`, else `X-Request-Id` if it is valid and free, else a new one.

    The last chunk's `finish_reason` is why the answer ended, `abort` after an abort. `Accept: text/plain` gives text.
    """
    body: dict[str, Any] = request.model_dump(exclude={"request_id"})
    return ChatResponse(
        body | {"stream": True},
        **ids.chat_id_for(request.request_id),
        owner=owner,
        worker=worker_of(http),
        as_text=accept.startswith("text/plain"),
    )


@router.post(
    PATH,
    response_model=Aborted,
    responses=openapi_docs.ABORT
    | {404: {"model": NotFound, "description": "unknown, finished, or of another API key"}},
)
async def abort(request: AbortRequest, http: Request, owner: Owner) -> Response:
    """Stop the chat with this `request_id`, whichever worker runs it."""
    return AbortResponse(request, owner, worker_of(http))
