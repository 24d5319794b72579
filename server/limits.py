"""Bounds on what a request may bring, as plain ASGI: it looks at what comes in and adds nothing to what goes out.

FastAPI has a `max_body_size` of its own; it wraps every chunk that goes out, and gives its reason in plain text.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.refusals import refusal

DRAIN_FACTOR = 8
PLAIN_SEND = "stopwatch.send"
"""Where a streamed answer finds the server's own `send`: each layer in between wraps it once more, for every chunk."""
HANG_UP = "stopwatch.hang_up"
"""Where an answer that cannot be completed finds what breaks its connection off (protocol.BoundedHead)."""
WHOLE_BODY = "stopwatch.body"
"""Where a request's body is found that has been read whole."""
HEADER_BYTES = 32 * 1024


class BodyLimit:
    """Answers 413 to a body of more than `most_bytes`, announced or not, and 431 to headers beyond HEADER_BYTES."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body read, or refuse it."""
        if scope["type"] == "http" and sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            await refusal(431, f"The headers are larger than {HEADER_BYTES} bytes")(scope, receive, send)
            return
        scope[PLAIN_SEND] = send
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        size, more = 0, True
        # A body that is too large is read on for a while and dropped: closing on a client that still sends would reset
        # the connection, and it would never see the answer.
        while more and size <= DRAIN_FACTOR * self._most_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            size += len(part)
            more = message.get("more_body", False)
            if size <= self._most_bytes:
                body += part
        if size > self._most_bytes:
            detail = f"The body is larger than {self._most_bytes} bytes"
            await refusal(413, detail, {"Connection": "close"})(scope, receive, send)
            return
        scope[WHOLE_BODY] = bytes(body)
        whole: Message | None = {"type": "http.request", "body": scope[WHOLE_BODY], "more_body": False}

        async def replay() -> Message:
            nonlocal whole
            message, whole = whole, None
            return message if message is not None else await receive()

        await self._app(scope, replay, send)
