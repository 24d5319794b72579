"""The id of a chat: chosen by the client, taken from its trace id, or generated."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, TypedDict

from fastapi import Depends, Header

from server.http.schemas import ID_PATTERN, RequestId

_VALID = re.compile(ID_PATTERN[1:-1])


class ChatId(TypedDict):
    """Arguments of ChatResponse; a replaceable id is replaced if a live chat has it."""

    request_id: str
    id_is_replaceable: bool


def new_id() -> str:
    """Generate an id that cannot be guessed."""
    return secrets.token_urlsafe(16)


def id_headers(request_id: str) -> dict[str, str]:
    """Build the headers with a chat's id and the process that runs the chat."""
    return {"X-Request-Id": request_id, "X-Chat-Id": request_id, "X-Worker": str(os.getpid())}


@dataclass(frozen=True)
class HeaderIds:
    """The ids in a request's headers."""

    chat_id: str | None
    trace_id: str | None

    def chat_id_for(self, request_id: str | None) -> ChatId:
        """Choose the id: `request_id` of the body, else X-Chat-Id, else X-Request-Id, else a new one."""
        if (chosen := request_id or self.chat_id) is not None:
            return ChatId(request_id=chosen, id_is_replaceable=False)
        # Parallel calls of one trace share their X-Request-Id, and proxies join several: the chat must start anyway.
        if self.trace_id is not None and _VALID.fullmatch(self.trace_id):
            return ChatId(request_id=self.trace_id, id_is_replaceable=True)
        return ChatId(request_id=new_id(), id_is_replaceable=False)


async def _header_ids(
    x_chat_id: Annotated[RequestId | None, Header(description="The chat's id, unless `request_id` gives it")] = None,
    x_request_id: Annotated[str | None, Header(description="The chat's id if it is valid as one, and free")] = None,
) -> HeaderIds:
    return HeaderIds(x_chat_id, x_request_id)


RequestIds = Annotated[HeaderIds, Depends(_header_ids)]
