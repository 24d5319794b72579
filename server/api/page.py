"""The demo page: GET /, its files and its data; the headers allow no other origin."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from server.settings import Settings
from server.worker import worker_of

_STATIC = Path(__file__).parent.parent / "static"
_TYPES = {
    "page.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "dial.css": "text/css; charset=utf-8",
    "answer.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "chat.js": "text/javascript; charset=utf-8",
    "dial.js": "text/javascript; charset=utf-8",
    "worker_client.js": "text/javascript; charset=utf-8",
    "texts.js": "text/javascript; charset=utf-8",
    "worker.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_CSP = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(_CSP),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # An isolated page gets a clock resolution of 5 us in place of 100: this page measures.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


def _file(name: str) -> Response:
    return Response((_STATIC / name).read_bytes(), headers=HEADERS, media_type=_TYPES[name])


@router.head("/")
@router.get("/")
async def page() -> Response:
    """Serve the page."""
    return _file("page.html")


@router.get("/page/about")
async def about(http: Request) -> Response:
    """Return the strategy, the number of workers and the upstream."""
    worker = worker_of(http)
    content = {
        "strategy": worker.strategy,
        "workers": worker.settings.worker_count,
        "upstream": _upstream(worker.settings, public=http.app.state.keys.owner(None) is not None),
    }
    return JSONResponse(content, headers=HEADERS)


def _upstream(settings: Settings, *, public: bool) -> str | None:
    """Return UPSTREAM_NOTE, else the upstream's host if the service needs no API key."""
    return settings.upstream_note or (urlsplit(settings.openai_base_url).hostname if public else None)


@router.head("/page/{name}")
@router.get("/page/{name}")
async def file(name: str) -> Response:
    """Serve one of the page's files; 404 for any other name."""
    return _file(name) if name in _TYPES else Response(status_code=404, headers=HEADERS)
