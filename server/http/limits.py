"""What a request must pass before anything is spent on it, as plain ASGI: it adds nothing to what goes out.

FastAPI has a `max_body_size` of its own; it wraps every chunk that goes out, and gives its reason in plain text.
"""

from __future__ import annotations

import asyncio

from fastapi.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.hosts import Hosts
from server.http.refusals import refusal
from server.http.security import NO_KEY, OWNER, Keys
from server.settings import Settings

PLAIN_SEND = "stopwatch.send"
"""Where a streamed answer finds the server's own `send`: each layer in between wraps it once more, for every chunk."""
HANG_UP = "stopwatch.hang_up"
"""Where an answer that cannot be completed finds what breaks its connection off (protocol.BoundedHead)."""
ARRIVED = "stopwatch.arrived"
"""Set by the protocol when a request's last byte has arrived: its body needs no deadline."""
WHOLE_BODY = "stopwatch.body"
"""Where a request's body is found that has been read whole."""
HEADER_BYTES = 32 * 1024
SLOWEST_BYTES_PER_S = 16 * 1024
"""An upload this fast is never too slow: a body of n bytes has REQUEST_DEADLINE_S + n / SLOWEST_BYTES_PER_S."""
_GUARDED = ("/chat/", "/abort/", "/v1/")
_WITH_BODY = ("POST", "PUT", "PATCH")


class Gate:
    """Checks headers, Host and API key, in this order, and only then reads the body, within its bounds.

    Answers 431, 421, 401, 413 and 408. What is left of a refused body is read and dropped by the protocol.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys, hosts: Hosts) -> None:
        self._app = app
        self._keys = keys
        self._hosts = hosts
        self._most_bytes = settings.max_body_bytes
        self._deadline_s = settings.request_deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body read, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refuse_head(scope)
        if refused is None and OWNER in scope and scope["method"] in _WITH_BODY:
            body = await self._read(scope, receive)
            if body is None:
                return
            if isinstance(body, bytes):
                scope[WHOLE_BODY] = body
                receive = _replayed(body, receive)
            else:
                refused = body
        await (refused or self._app)(scope, receive, send)

    def _refuse_head(self, scope: Scope) -> Response | None:
        headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES:
            return refusal(431, f"The headers are larger than {HEADER_BYTES} bytes")
        if (reason := self._hosts.refuse(scope)) is not None:
            return refusal(421, reason)
        if not scope["path"].startswith(_GUARDED):
            return None
        if (owner := self._keys.owner_of(scope)) is None:
            return refusal(401, NO_KEY, {"WWW-Authenticate": "Bearer"} | _closing(scope))
        scope[OWNER] = owner
        announced = next((value for name, value in headers if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced[:20]) > self._most_bytes:
            return self._too_large(_closing(scope))
        return None

    async def _read(self, scope: Scope, receive: Receive) -> bytes | Response | None:
        """The whole body; a refusal if it is too large or too slow; None if the client has left."""
        if ARRIVED in scope:
            body: bytes | None = (await receive()).get("body", b"")
        else:
            try:
                body = await self._read_in_time(receive)
            except TimeoutError as error:
                return refusal(408, str(error), {"Connection": "close"})
        if body is not None and len(body) > self._most_bytes:
            return self._too_large({})
        return body

    async def _read_in_time(self, receive: Receive) -> bytes | None:
        """The body, or its beginning if it is too large. Raises TimeoutError."""
        body, more = bytearray(), True
        began_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(began_s + self._deadline_s) as deadline:
                while more and len(body) <= self._most_bytes:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    deadline.reschedule(began_s + self._deadline_s + len(body) / SLOWEST_BYTES_PER_S)
        except TimeoutError:
            raise TimeoutError(
                f"The body did not arrive in time: {len(body)} bytes in {self._deadline_s:g} s (REQUEST_DEADLINE_S) "
                f"and one second for each {SLOWEST_BYTES_PER_S} bytes"
            ) from None
        return bytes(body)

    def _too_large(self, headers: dict[str, str]) -> Response:
        return refusal(413, f"The body is larger than {self._most_bytes} bytes (MAX_BODY_BYTES)", headers)


def _closing(scope: Scope) -> dict[str, str]:
    """A client that waits for `100 Continue` will not send its body: the connection cannot be used again."""
    expects = any(name == b"expect" for name, _ in scope["headers"])
    return {"Connection": "close"} if expects else {}


def _replayed(body: bytes, receive: Receive) -> Receive:
    whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replay() -> Message:
        nonlocal whole
        message, whole = whole, None
        return message if message is not None else await receive()

    return replay
