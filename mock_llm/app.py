"""The mock's routes: OpenAI's chat completions and models, and the /__mock/ endpoints."""

import asyncio
import json
import re
import secrets
import time
from collections.abc import Callable
from itertools import count
from random import Random
from urllib.parse import parse_qs

import httptools

from mock_llm.chat import ApiError, parse_chat
from mock_llm.journal import Journal, Row
from mock_llm.loop_monitor import LoopMonitor
from mock_llm.pacing import Pacer, deadlines, headers_due_ns
from mock_llm.protocol import Connection, Request
from mock_llm.responses import Response, StreamedResponse, WholeResponse
from mock_llm.settings import Fault, ReplySettings, SettingError, Settings, overridden
from mock_llm.sse import StreamBytes, completion, draw_tokens

_BENCH_ID = re.compile(r"\[bench:([\x21-\x5c\x5e-\x7e]{1,200})\]")  # printable ASCII without the closing bracket
_Route = Callable[[Request, Connection, str], None]


class App:
    """Routes requests; paced responses are scheduled with the pacer."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._reply = settings.reply()
        self._model = {"id": settings.model, "object": "model", "created": int(time.time()), "owned_by": "mock"}
        self._journal = Journal(settings.journal_rows)
        self._pacer = Pacer(loop)
        self._monitor = LoopMonitor(loop)
        self._boot = secrets.token_hex(4)  # makes completion ids unique across servers and restarts
        self._ordinals = count(1)
        self._routes: dict[str, dict[str, _Route]] = {
            "/v1/chat/completions": {"POST": self._chat},
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
        methods = self._routes.get(path)
        if methods is None:
            if path.startswith("/v1/models/"):
                name = path.removeprefix("/v1/models/")
                raise ApiError(404, f"The model '{name}' does not exist.", param="model", code="model_not_found")
            raise ApiError(404, f"Invalid URL ({request.method} {path})", code="unknown_url")
        if request.method not in methods:
            allowed = ", ".join(methods)
            message = f"{request.method} is not allowed for {path}; choose {allowed}."
            raise ApiError(405, message, code="method_not_supported", headers=(f"allow: {allowed}",))
        methods[request.method](request, connection, (url.query or b"").decode("latin-1"))

    def _chat(self, request: Request, connection: Connection, _query: str) -> None:
        chat = parse_chat(bytes(request.body))
        if chat.stream and request.http_1_0:
            raise ApiError(505, "A stream needs HTTP/1.1 (chunked transfer encoding).")
        text = chat.messages[-1].text()
        try:
            reply = overridden(self._reply, request.headers, text)
        except SettingError as error:
            raise ApiError(400, str(error), param="mock", code="invalid_mock_setting") from None
        completion_id = f"chatcmpl-{self._boot}{next(self._ordinals):08x}"
        marked = _BENCH_ID.search(text)
        named = request.headers.get("x-request-id")
        request_id = named or (marked[1] if marked else completion_id)
        id_from = "header" if named else "marker" if marked else ""
        rng = self._random(reply, request, request_id)
        fault = reply.fault if reply.fault is not None and rng.random() < reply.fault_rate else None
        planned = chat.limited(reply.output_tokens)
        row = Row(request_id, chat.model, bool(chat.stream), request.received_ns, planned, id_from, fault)
        if fault in (Fault.HTTP_500, Fault.HTTP_429):
            row.planned_tokens, row.done_ns = 0, time.monotonic_ns()
            self._journal.add(row)
            raise _http_fault(fault, request_id)
        self._journal.add(row)
        row.due_ns = deadlines(reply, planned, request.received_ns, rng)
        tokens = draw_tokens(reply.seed if chat.seed is None else chat.seed, planned)
        reason = "length" if planned < reply.output_tokens else "stop"
        created_s = int(time.time())
        usage = chat.usage(planned)
        response: Response
        if chat.stream:
            source = StreamBytes(completion_id, created_s, chat.model, include_usage=chat.include_usage)
            fault_at = planned // 2 if reply.stall_at is None else min(reply.stall_at, planned)
            end = source.end(reason, usage)
            headers_due = headers_due_ns(reply, request.received_ns)
            response = StreamedResponse(
                connection, self._pacer, row,
                source=source, tokens=tokens, end=end, headers_due_ns=headers_due, fault_at=fault_at,
            )  # fmt: skip
        else:
            body = completion(completion_id, created_s, chat.model, tokens, finish_reason=reason, usage=usage)
            response = WholeResponse(connection, self._pacer, row, body)
        connection.response = response
        response.start()

    def _random(self, reply: ReplySettings, request: Request, request_id: str) -> Random:
        # Includes the client's retry count, so that a retry after an injected fault draws again.
        return Random(f"{reply.seed}/{request_id}/{request.headers.get('x-stainless-retry-count', '0')}")

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

    def _clock(self, _request: Request, connection: Connection, _query: str) -> None:
        now = {"monotonic_ns": time.monotonic_ns(), "cpu_ns": time.process_time_ns()}
        connection.respond(200, json.dumps(now).encode())

    def _alive(self, _request: Request, connection: Connection, _query: str) -> None:
        """Respond to load generators that check the server before they start (guidellm)."""
        connection.respond(200, b'{"status": "ok"}')

    def _health(self, _request: Request, connection: Connection, _query: str) -> None:
        connection.respond(200, json.dumps(self._monitor.as_json()).encode())


def _http_fault(fault: Fault, request_id: str) -> ApiError:
    named = f"x-request-id: {request_id}"
    if fault is Fault.HTTP_429:
        message = "Rate limit reached (injected fault). Please try again in 1s."
        headers = ("retry-after: 1", named)
        return ApiError(429, message, kind="requests", code="rate_limit_exceeded", headers=headers)
    return ApiError(500, "The server had an error (injected fault).", kind="server_error", headers=(named,))
