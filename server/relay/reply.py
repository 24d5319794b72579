"""The response to the client: headers, events, and its end."""

from __future__ import annotations

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from server import sse
from server.http.chat_ids import id_headers
from server.http.request_guard import ABORT_CONNECTION, SERVER_SEND
from server.relay.upstream_errors import AnswerError

FINAL_SEND_S = 2.0
"""How long the end of a chat waits for a client that does not read."""


class Reply:
    """The response to one request, as ASGI messages; call `attach` first."""

    scope: Scope
    send_chunk: Send
    """The server's own `send`, without the framework's wrappers: used for every chunk."""

    def __init__(self, request_id: str, *, as_text: bool = False) -> None:
        self.request_id = request_id
        self.as_text = as_text
        self.started = False

    def attach(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Use this request's channels."""
        self.scope, self._receive, self._send = scope, receive, send
        self.send_chunk = scope.get(SERVER_SEND, send)

    async def start(self) -> None:
        """Send the headers if they have not been sent."""
        if self.started:
            return
        headers = {
            "content-type": "text/plain; charset=utf-8" if self.as_text else "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",  # disables nginx's buffering
            **id_headers(self.request_id),
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.started = True
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": raw})
        except BaseException:
            self.started = False
            raise

    async def add(self, events: bytes) -> None:
        """Send whole events of the service's own; a text response omits them."""
        if not self.as_text:
            await self.send_chunk({"type": "http.response.body", "body": events, "more_body": True})

    async def end(self, events: bytes = b"") -> None:
        """End the response with these events."""
        await self.start()
        body = b"" if self.as_text else events
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def respond(self, response: Response) -> None:
        """Send `response` in place of a stream."""
        await response(self.scope, self._receive, self._send)

    async def fail(self, error: AnswerError) -> None:
        """End with this error: a status before the headers, then an event; a text response is cut off."""
        if not self.started:
            await self.respond(error.response(id_headers(self.request_id)))
        elif self.as_text:
            self.abort_connection(FINAL_SEND_S)  # the only sign that a text is incomplete
        else:
            await self.end(sse.format_event({"error": error.error}, "error") + sse.DONE)

    def abort_connection(self, timeout_s: float) -> None:
        """Close the connection before the response is complete; sent bytes have `timeout_s` to reach the client.

        Under another ASGI server than ours this does nothing: such a server closes an incomplete response itself.
        """
        if (abort := self.scope.get(ABORT_CONNECTION)) is not None:
            abort(timeout_s)
