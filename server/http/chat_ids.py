"""By which id a chat can be stopped: chosen by the client, taken from its trace, or made here."""

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
    """A chat's id, as ChatResponse takes it; an optional one is replaced when a live chat has it."""

    request_id: str
    id_is_optional: bool


def fresh_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_urlsafe(16)


def id_headers(request_id: str) -> dict[str, str]:
    """The headers that tell a client its chat's id, and which process holds the chat."""
    return {"X-Request-Id": request_id, "X-Chat-Id": request_id, "X-Worker": str(os.getpid())}


@dataclass(frozen=True)
class HeaderIds:
    """The ids in a request's headers."""

    chat_id: str | None
    trace_id: str | None

    def of_chat(self, request_id: str | None) -> ChatId:
        """The id of the chat: `request_id` from the body, else X-Chat-Id, else X-Request-Id, else a fresh one."""
        if (chosen := request_id or self.chat_id) is not None:
            return ChatId(request_id=chosen, id_is_optional=False)
        # Tracing gives parallel calls the same X-Request-Id, and proxies join several: neither may cost the chat.
        if self.trace_id is not None and _VALID.fullmatch(self.trace_id):
            return ChatId(request_id=self.trace_id, id_is_optional=True)
        return ChatId(request_id=fresh_id(), id_is_optional=False)


def _header_ids(
    x_chat_id: Annotated[RequestId | None, Header(description="The chat's id, unless `request_id` gives it")] = None,
    x_request_id: Annotated[str | None, Header(description="The chat's id if it is valid as one, and free")] = None,
) -> HeaderIds:
    return HeaderIds(x_chat_id, x_request_id)


RequestIds = Annotated[HeaderIds, Depends(_header_ids)]
