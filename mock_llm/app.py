"""The mock's routes: OpenAI's API as far as it generates, its models, and the /__mock/ endpoints."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs

import httptools

from mock_llm.chat import ApiError, ChatRequest, CompletionRequest, TextRequest
from mock_llm.embeddings import EmbeddingRequest
from mock_llm.generation import Generator
from mock_llm.journal import Journal
from mock_llm.loop_monitor import LoopMonitor
from mock_llm.pacing import Pacer
from mock_llm.protocol import Connection, Request
from mock_llm.responses_api import ResponsesRequest
from mock_llm.settings import Settings

_RESPONSE = re.compile(r"/v1/responses/([^/]+)(/cancel)?")
_Route = Callable[[Request, Connection, str], None]


class App:
    """Routes requests; paced responses are scheduled with the pacer."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._model = {"id": settings.model, "object": "model", "created": int(time.time()), "owned_by": "mock"}
        self._journal = Journal(settings.journal_rows)
        self._generator = Generator(settings.reply(), self._journal, Pacer(loop))
        self._monitor = LoopMonitor(loop)
        self._routes: dict[str, dict[str, _Route]] = {
            "/v1/chat/completions": {"POST": self._generates(ChatRequest)},
            "/v1/completions": {"POST": self._generates(CompletionRequest)},
            "/v1/responses": {"POST": self._generates(ResponsesRequest)},
            "/v1/embeddings": {"POST": self._generates(EmbeddingRequest)},
            "/v1/models": {"GET": self._models},
            f"/v1/models/{settings.model}": {"GET": self._one_model},
            "/__mock/journal": {"GET": self._read_journal, "DELETE": self._clear_journal},
            "/__mock/clock": {"GET": self._clock},
            "/__mock/health": {"GET": self._health},
            "/health": {"GET": self._alive, "HEAD": self._alive},
        }

    def __call__(self, request: Request, connection: Connection) -> None:
        """Respond to `request` on `connection`; raises ApiError for requests that OpenAI would reject."""
        try:
            url = httptools.parse_url(bytes(request.target))
        except httptools.HttpParserInvalidURLError:
            raise ApiError(400, "The request target is not a valid URL.") from None
        path = (url.path or b"/").decode("latin-1")
        methods = self._routes.get(path) or self._by_id(path)
        if not methods:
            if path.startswith("/v1/models/"):
                name = path.removeprefix("/v1/models/")
                raise ApiError(404, f"The model '{name}' does not exist.", param="model", code="model_not_found")
            raise ApiError(404, f"Invalid URL ({request.method} {path})", code="unknown_url")
        if request.method not in methods:
            allowed = ", ".join(methods)
            message = f"{request.method} is not allowed for {path}; choose {allowed}."
            raise ApiError(405, message, code="method_not_supported", headers=(f"allow: {allowed}",))
        methods[request.method](request, connection, (url.query or b"").decode("latin-1"))

    def _generates(self, kind: type[TextRequest]) -> _Route:
        return lambda request, connection, _query: self._generator.start(kind, request, connection)

    def _by_id(self, path: str) -> dict[str, _Route]:
        """Return the methods of a path that contains a response's id."""
        if (matched := _RESPONSE.fullmatch(path)) is None:
            return {}
        response_id, cancels = matched.groups()
        if cancels:
            return {"POST": lambda _request, connection, _query: self._generator.cancel(response_id, connection)}
        return {"GET": lambda _request, connection, _query: self._generator.retrieve(response_id, connection)}

    def _models(self, _request: Request, connection: Connection, _query: str) -> None:
        connection.respond(200, json.dumps({"object": "list", "data": [self._model]}).encode())

    def _one_model(self, _request: Request, connection: Connection, _query: str) -> None:
        connection.respond(200, json.dumps(self._model).encode())

    def _read_journal(self, _request: Request, connection: Connection, query: str) -> None:
        """Return the rows of `?id=`, of ids that begin with `?prefix=`, or all; `others` counts those left out."""
        selected = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        rows = self._journal.rows(selected.get("id"), selected.get("prefix", ""))
        journal = {
            "rows": [row.as_json() for row in rows],
            "others": len(self._journal) - len(rows),
            "dropped": self._journal.dropped,
        }
        connection.respond(200, json.dumps(journal).encode())

    def _clear_journal(self, _request: Request, connection: Connection, _query: str) -> None:
        self._journal.clear()
        self._monitor.reset()  # the journal and the monitor cover the same period
        connection.respond(204, b"")

    def _clock(self, request: Request, connection: Connection, _query: str) -> None:
        """Respond with when the request was read from the socket and the time now, for two-way exchanges."""
        cpu_ns = time.process_time_ns()
        now = {"monotonic_ns": time.monotonic_ns(), "received_ns": request.received_ns, "cpu_ns": cpu_ns}
        connection.respond(200, json.dumps(now).encode())

    def _alive(self, _request: Request, connection: Connection, _query: str) -> None:
        """Respond to load generators that check the server before they start (guidellm)."""
        connection.respond(200, b'{"status": "ok"}')

    def _health(self, _request: Request, connection: Connection, _query: str) -> None:
        connection.respond(200, json.dumps(self._monitor.as_json()).encode())
