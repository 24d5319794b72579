"""Start responses: validate the request, record it in the journal, schedule its tokens. Keep those of /v1/responses."""

import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from random import Random

from mock_llm.chat import ApiError, TextRequest, parse
from mock_llm.journal import Journal, Row
from mock_llm.pacing import Pacer, deadlines, headers_due_ns
from mock_llm.protocol import Connection, Request
from mock_llm.responses import BackgroundResponse, NoConnection, Response, StreamedResponse, WholeResponse
from mock_llm.responses_api import ResponsesEvents, final_status
from mock_llm.settings import Fault, ReplySettings, SettingError, overridden
from mock_llm.sse import draw_tokens, json_bytes

_BENCH_ID = re.compile(r"\[bench:([\x21-\x5c\x5e-\x7e]{1,200})\]")  # printable ASCII without the closing bracket
_MAX_KEPT = 1000


@dataclass(slots=True)
class _Kept:
    """A response of /v1/responses."""

    events: ResponsesEvents
    row: Row
    tokens: list[bytes]
    reason: str
    response: Response

    def status(self) -> str:
        if self.row.done_ns is not None:
            return final_status(self.reason)
        if self.row.outcome == "cut":
            return "cancelled"
        return "in_progress" if self.row.token_ns or not self.row.background else "queued"

    def body(self) -> bytes:
        return json_bytes(self.events.object(self.status(), self.tokens[: len(self.row.token_ns)]))


class Generator:
    """Starts responses on connections; paced by one pacer."""

    def __init__(self, reply: ReplySettings, journal: Journal, pacer: Pacer) -> None:
        self._reply = reply
        self._journal = journal
        self._pacer = pacer
        self._boot = secrets.token_hex(4)  # makes response ids unique across servers and restarts
        self._ordinals = count(1)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def start(self, kind: type[TextRequest], request: Request, connection: Connection) -> None:
        """Start the response to `request`; raises ApiError for requests that OpenAI would reject."""
        prompt = parse(kind, bytes(request.body))
        if prompt.stream and request.http_1_0:
            raise ApiError(505, "A stream needs HTTP/1.1 (chunked transfer encoding).")
        text = prompt.texts()[-1]
        try:
            reply = overridden(self._reply, request.headers, text)
        except SettingError as error:
            raise ApiError(400, str(error), param="mock", code="invalid_mock_setting") from None
        response_id = f"{kind.id_prefix}{self._boot}{next(self._ordinals):08x}"
        row, rng = self._row(prompt, request, reply, text, response_id)
        planned = row.planned_tokens
        row.due_ns = deadlines(reply, planned, request.received_ns, rng)
        tokens = draw_tokens(reply.seed if prompt.seed is None else prompt.seed, planned)
        reason = "length" if planned < reply.output_tokens else "stop"
        source = prompt.encoder(response_id, int(time.time()))
        response: Response
        if prompt.stream or row.background:
            make = BackgroundResponse if row.background else StreamedResponse
            response = make(
                connection if prompt.stream else NoConnection(), self._pacer, row,
                source=source, tokens=tokens, reason=reason,
                headers_due_ns=headers_due_ns(reply, request.received_ns),
                fault_at=planned // 2 if reply.stall_at is None else min(reply.stall_at, planned),
            )  # fmt: skip
        else:
            response = WholeResponse(connection, self._pacer, row, source.whole(tokens, reason))
        if isinstance(source, ResponsesEvents):
            self._keep(response_id, _Kept(source, row, tokens, reason, response))
        if prompt.stream or not row.background:
            connection.response = response
        else:
            connection.respond(200, self._find(response_id).body(), (f"x-request-id: {row.id}",))
        response.start()

    def retrieve(self, response_id: str, connection: Connection) -> None:
        """Respond with the object of a response of /v1/responses."""
        connection.respond(200, self._find(response_id).body())

    def cancel(self, response_id: str, connection: Connection) -> None:
        """Cancel a background response, and respond with its object."""
        kept = self._find(response_id)
        if not isinstance(kept.response, BackgroundResponse):
            raise ApiError(400, "Cannot cancel a synchronous response.")
        kept.response.cancel()
        connection.respond(200, kept.body())

    def _row(
        self, prompt: TextRequest, request: Request, reply: ReplySettings, text: str, response_id: str
    ) -> tuple[Row, Random]:
        """Return the journal's row and the request's random numbers; raises the injected HTTP errors."""
        marked = _BENCH_ID.search(text)
        named = request.headers.get("x-request-id")
        request_id = named or (marked[1] if marked else response_id)
        id_from = "header" if named else "marker" if marked else ""
        # Includes the client's retry count, so that a retry after an injected fault draws again.
        rng = Random(f"{reply.seed}/{request_id}/{request.headers.get('x-stainless-retry-count', '0')}")
        fault = reply.fault if reply.fault is not None and rng.random() < reply.fault_rate else None
        planned, background = prompt.limited(reply.output_tokens), prompt.in_background()
        if background and fault is Fault.CUT:
            message = "the fault cut needs a connection: not for background responses"
            raise ApiError(400, message, param="mock", code="invalid_mock_setting")
        row = Row(
            request_id, prompt.model, bool(prompt.stream), request.received_ns, planned, id_from, fault, background
        )
        if fault in (Fault.HTTP_500, Fault.HTTP_429):
            row.planned_tokens, row.done_ns = 0, time.monotonic_ns()
        self._journal.add(row)  # counts its planned tokens
        if fault in (Fault.HTTP_500, Fault.HTTP_429):
            raise _http_fault(fault, request_id)
        return row, rng

    def _keep(self, response_id: str, kept: _Kept) -> None:
        self._kept[response_id] = kept
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)

    def _find(self, response_id: str) -> _Kept:
        if response_id not in self._kept:
            raise ApiError(404, f"Response with id '{response_id}' not found.")
        return self._kept[response_id]


def _http_fault(fault: Fault, request_id: str) -> ApiError:
    named = f"x-request-id: {request_id}"
    if fault is Fault.HTTP_429:
        message = "Rate limit reached (injected fault). Please try again in 1s."
        headers = ("retry-after: 1", named)
        return ApiError(429, message, kind="requests", code="rate_limit_exceeded", headers=headers)
    return ApiError(500, "The server had an error (injected fault).", kind="server_error", headers=(named,))
