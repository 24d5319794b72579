"""The outermost layer: CORS headers where they are asked for, and a way around all layers for streamed chunks."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.limits import PLAIN_SEND
from server.settings import listed

EXPOSED = ("X-Request-Id", "X-Chat-Id", "Retry-After")
"""Headers of ours that scripts of other origins may read."""


class Outermost:
    """Notes the server's own `send`, and lets pages of `cors_origins` call the service.

    Being outside of FastAPI's layers, it adds its headers to every answer, refusals and faults included.
    """

    def __init__(self, app: ASGIApp, cors_origins: str) -> None:
        origins = listed(cors_origins)
        self._app = app
        if origins:
            self._app = CORSMiddleware(
                app,
                allow_origins=origins,
                allow_methods=("GET", "HEAD", "POST"),
                allow_headers=("*",),  # OpenAI's client for browsers sends a dozen of its own
                allow_private_network="*" not in origins,
                expose_headers=EXPOSED,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        scope[PLAIN_SEND] = send
        await self._app(scope, receive, send)
