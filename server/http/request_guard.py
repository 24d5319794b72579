"""Checks before a request is served: header size, Host, API key, body size and duration.

Plain ASGI, so that responses are not wrapped. FastAPI's own `max_body_size` wraps every sent chunk, and answers in
plain text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.errors import error_response
from server.http.hosts import AllowedHosts
from server.http.security import MISSING_KEY, OWNER, ApiKeys
from server.settings import Settings

SERVER_SEND = "stopwatch.send"
"""Scope key: the server's own `send`. Each layer wraps `send` once more, which costs time for every chunk."""
ABORT_CONNECTION = "stopwatch.abort_connection"
"""Scope key: closes the connection of a response that cannot be completed (protocol.BoundedHttpProtocol)."""
REQUEST_COMPLETE = "stopwatch.request_complete"
"""Scope key: set by the protocol when a request has arrived completely; its body needs no deadline."""
REQUEST_BODY = "stopwatch.body"
"""Scope key: the whole request body."""
MAX_HEADER_BYTES = 32 * 1024
MIN_UPLOAD_BYTES_PER_S = 16 * 1024
"""The time limit of a body of n bytes is REQUEST_DEADLINE_S + n / MIN_UPLOAD_BYTES_PER_S."""
_GUARDED = ("/chat/", "/abort/", "/v1/")
_WITH_BODY = ("POST", "PUT", "PATCH")


class RequestGuard:
    """Checks headers, Host and API key, in this order, calls `refuse`, then reads the body within its limits.

    `refuse` returns the answer to a request that is refused whatever its body; the scope has its owner.

    Answers 431, 421, 401, 413 and 408. The protocol reads and drops the rest of a refused body.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: ApiKeys,
        hosts: AllowedHosts,
        refuse: Callable[[Scope], Response | None] = lambda _: None,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._keys = keys
        self._hosts = hosts
        self._max_body_bytes = settings.max_body_bytes
        self._deadline_s = settings.request_deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body and call the application, or answer with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = self._head_error(scope)
        if error is None and OWNER in scope and scope["method"] in _WITH_BODY:
            body = await self._read(scope, receive)
            if body is None:
                return
            if isinstance(body, bytes):
                scope[REQUEST_BODY] = body
                receive = _replay_body(body, receive)
            else:
                error = body
        await (error or self._app)(scope, receive, send)

    def _head_error(self, scope: Scope) -> Response | None:
        headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            return error_response(431, f"The headers are larger than {MAX_HEADER_BYTES} bytes")
        if (reason := self._hosts.rejection_reason(scope)) is not None:
            return error_response(421, reason)
        if not scope["path"].startswith(_GUARDED):
            return None
        if (owner := self._keys.owner_of_request(scope)) is None:
            return error_response(401, MISSING_KEY, {"WWW-Authenticate": "Bearer"} | _close_if_expecting(scope))
        scope[OWNER] = owner
        announced = next((value for name, value in headers if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced[:20]) > self._max_body_bytes:
            return self._too_large(_close_if_expecting(scope))
        if (refusal := self._refuse(scope)) is not None:
            refusal.headers.update(_close_if_expecting(scope))
        return refusal

    async def _read(self, scope: Scope, receive: Receive) -> bytes | Response | None:
        """Read the whole body; an error response if it is too large or too slow, None if the client disconnected."""
        if REQUEST_COMPLETE in scope:
            body: bytes | None = (await receive()).get("body", b"")
        else:
            try:
                body = await self._read_in_time(receive)
            except TimeoutError as error:
                return error_response(408, str(error), {"Connection": "close"})
        if body is not None and len(body) > self._max_body_bytes:
            return self._too_large({})
        return body

    async def _read_in_time(self, receive: Receive) -> bytes | None:
        """Read the body, or its beginning if it is too large. Raises TimeoutError."""
        body, more = bytearray(), True
        started_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(started_s + self._deadline_s) as deadline:
                while more and len(body) <= self._max_body_bytes:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    deadline.reschedule(started_s + self._deadline_s + len(body) / MIN_UPLOAD_BYTES_PER_S)
        except TimeoutError:
            raise TimeoutError(
                f"The body did not arrive in time: {len(body)} bytes in {self._deadline_s:g} s (REQUEST_DEADLINE_S) "
                f"and one second for each {MIN_UPLOAD_BYTES_PER_S} bytes"
            ) from None
        return bytes(body)

    def _too_large(self, headers: dict[str, str]) -> Response:
        return error_response(413, f"The body is larger than {self._max_body_bytes} bytes (MAX_BODY_BYTES)", headers)


def _close_if_expecting(scope: Scope) -> dict[str, str]:
    """Close the connection of a client that waits for `100 Continue`: its body never comes."""
    expects = any(name == b"expect" for name, _ in scope["headers"])
    return {"Connection": "close"} if expects else {}


def _replay_body(body: bytes, receive: Receive) -> Receive:
    whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replay() -> Message:
        nonlocal whole
        message, whole = whole, None
        return message if message is not None else await receive()

    return replay
