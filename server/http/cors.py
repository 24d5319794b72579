"""The outermost middleware: CORS headers, and the server's own `send` for streamed chunks."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.request_guard import SERVER_SEND
from server.settings import split_list

EXPOSED_HEADERS = ("X-Request-Id", "X-Chat-Id", "Retry-After")
"""Response headers that scripts of other origins may read."""


class OutermostMiddleware:
    """Stores the server's `send` in the scope, and answers CORS requests from `cors_origins`.

    It wraps FastAPI's own layers, so that error responses get the headers, too.
    """

    def __init__(self, app: ASGIApp, cors_origins: str) -> None:
        origins = split_list(cors_origins)
        self._app = app
        if origins:
            self._app = CORSMiddleware(
                app,
                allow_origins=origins,
                allow_methods=("GET", "HEAD", "POST"),
                allow_headers=("*",),  # OpenAI's browser client sends a dozen of its own
                allow_private_network="*" not in origins,
                expose_headers=EXPOSED_HEADERS,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store `send` and call the application."""
        scope[SERVER_SEND] = send
        try:
            await self._app(scope, receive, send)
        finally:
            del scope[SERVER_SEND]  # it refers to the scope: both would wait for a garbage collection
