"""The client's side of a streamed chat: headers, events, and the ends that are not the upstream's."""

from __future__ import annotations

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from server import sse
from server.http.chat_ids import id_headers
from server.http.limits import HANG_UP, PLAIN_SEND
from server.relay.failures import AnswerError

FINAL_SEND_S = 2.0
"""How long a client that does not read may hold up the end of its chat."""


class Reply:
    """The answer to one request, as ASGI messages; `attach` comes first."""

    scope: Scope
    send_chunk: Send
    """The server's own `send`: for each chunk, past the framework's wrappers."""

    def __init__(self, request_id: str, *, as_text: bool = False) -> None:
        self.request_id = request_id
        self.as_text = as_text
        self.started = False

    def attach(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer this request."""
        self.scope, self._receive, self._send = scope, receive, send
        self.send_chunk = scope.get(PLAIN_SEND, send)

    async def start(self) -> None:
        """Send the headers, unless they have been sent."""
        if self.started:
            return
        headers = {
            "content-type": "text/plain; charset=utf-8" if self.as_text else "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",  # tells nginx not to hold the stream back
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
        """Send whole events besides the upstream's; bare text has no place for them."""
        if not self.as_text:
            await self.send_chunk({"type": "http.response.body", "body": events, "more_body": True})

    async def end(self, events: bytes = b"") -> None:
        """Complete the answer, with these events last."""
        await self.start()
        body = b"" if self.as_text else events
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def respond(self, response: Response) -> None:
        """Answer with this and nothing else."""
        await response(self.scope, self._receive, self._send)

    async def fail(self, error: AnswerError) -> None:
        """End the answer with this error: a status if nothing has been sent, else an event, or a broken connection."""
        if not self.started:
            await self.respond(error.response(id_headers(self.request_id)))
        elif self.as_text:
            self.hang_up(FINAL_SEND_S)  # a text has no other way to say that it is not complete
        else:
            await self.end(sse.event({"error": error.error}, "error") + sse.DONE)

    def hang_up(self, timeout_s: float) -> None:
        """Break the connection off; what was sent has `timeout_s` to get out.

        A server that is not ours does it by itself, because the answer was not completed.
        """
        if (hang_up := self.scope.get(HANG_UP)) is not None:
            hang_up(timeout_s)
