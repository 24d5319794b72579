"""Aborts that take the way past the framework, and those that do not: one behaviour; and when one was recorded."""

import json
from time import monotonic_ns
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from backends import Options
from backends.base import Chat, State
from backends.deliveries import PushDelivery
from backends.memory import MemoryStore
from server.api.abort import AbortRequest, AbortResponse, DirectAbortMiddleware
from server.app import create_app
from server.http.request_guard import REQUEST_BODY
from server.http.security import OWNER
from server.ops.trace import AbortTrace, Tracer
from server.settings import Settings
from server.worker import Worker
from tests.server.harness import Client
from tests.server.service import question

DIRECT, ROUTED = "application/json", "application/json; charset=utf-8"


@pytest.mark.parametrize("way", [DIRECT, ROUTED])
async def test_both_ways_answer_alike(service: httpx2.AsyncClient, request_id: str, way: str) -> None:
    async def abort(**body: Any) -> tuple[int, Any]:
        answer = await service.post("/abort/", content=json.dumps(body), headers={"Content-Type": way})
        assert answer.headers["content-type"] == "application/json"
        return answer.status_code, answer.json()

    message = f"Streaming for request {request_id} will be aborted."
    assert await abort(request_id=request_id) == (404, {"detail": "Request ID not found", "remembered_s": 10.0})
    live = f"{request_id}-live"
    async with service.stream("POST", "/chat/", json=question("[mock:ttft_ms=60000]", request_id=live)) as answer:
        stopped = {"message": message.replace(request_id, live), "request_id": live, "status": "stopped"}
        assert await abort(request_id=live, wait_ms=5000) == (200, stopped)
        await answer.aread()
    assert await abort(request_id=live) == (404, {"detail": "Request ID not found"})
    for wrong in ({}, {"request_id": live, "wait_ms": "5"}, {"request_id": live, "more": 1}, {"request_id": "a\nb"}):
        status, refusal = await abort(**wrong)
        assert status == 422
        assert refusal["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize(("wait_ms", "timed"), [(0, ["recorded"]), (5000, ["recorded", "stopped"])])
async def test_an_abort_names_its_worker_and_its_times(
    service: httpx2.AsyncClient, request_id: str, wait_ms: int, timed: list[str]
) -> None:
    async with service.stream("POST", "/chat/", json=question("[mock:ttft_ms=60000]", request_id=request_id)) as chat:
        answer = await service.post("/abort/", json={"request_id": request_id, "wait_ms": wait_ms})
        await chat.aread()
    assert chat.headers["x-worker"].isdecimal()
    assert answer.headers["x-worker"].isdecimal()
    entries = [entry.split(";dur=") for entry in answer.headers["server-timing"].split(", ")]
    assert [name for name, _ in entries] == timed
    times_ms = [float(ms) for _, ms in entries]
    assert times_ms == sorted(times_ms)


class Framework:
    """Counts what is left to it."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        self.calls += 1


def scope(**different: Any) -> Scope:
    """A plain abort, but for what is different."""
    plain = {"type": "http", "method": "POST", "path": "/abort/", "headers": [(b"content-type", b"application/json")]}
    return plain | {REQUEST_BODY: b'{"request_id":"x"}', OWNER: "me"} | different


@pytest.fixture
async def app() -> Any:
    app = create_app(Settings(api_keys=SecretStr("the-key")))
    async with PushDelivery(MemoryStore(Options(), notify=True)) as delivery:
        app.state.worker = Worker(Settings(), delivery, None, Tracer(None))  # type: ignore[arg-type]  # asks no upstream
        yield app


async def test_a_plain_abort_goes_past_the_framework(app: Any) -> None:
    framework, client = Framework(), Client()
    await DirectAbortMiddleware(framework)(scope(app=app), client.receive, client.send)
    assert (framework.calls, client.status) == (0, 404)


def test_a_number_without_a_fraction_is_an_integer() -> None:
    assert AbortRequest.model_validate({"request_id": "x", "wait_ms": 5.0}).wait_ms == 5


@pytest.mark.parametrize(
    "different",
    [
        {"path": "/chat/"},
        {"method": "GET"},
        {"type": "lifespan"},
        {"headers": [(b"content-type", b"text/plain")]},
        {"headers": [(b"content-type", b"text/plain"), (b"content-type", b"application/json")]},
        {"headers": []},
        {REQUEST_BODY: b""},
        {REQUEST_BODY: b"\xff"},
        {REQUEST_BODY: b"[" * 100_000},
        {REQUEST_BODY: b'{"request_id":"x","\\ud83d":1}'},
        {REQUEST_BODY: b'{"request_id":"x","wait_ms":NaN}'},
        {REQUEST_BODY: b'{"request_id":"x","wait_ms":true}'},
        {REQUEST_BODY: b'{"request_id":"x","wait_ms":1.5}'},
        {REQUEST_BODY: b'{"request_id":"x","wait_ms":30001}'},
    ],
    ids=lambda different: str(different)[:60],
)
async def test_what_is_unusual_is_the_frameworks(app: Any, different: dict[str, Any]) -> None:
    framework, client = Framework(), Client()
    await DirectAbortMiddleware(framework)(scope(app=app, **different), client.receive, client.send)
    assert (framework.calls, client.status) == (1, 0)


async def test_recorded_is_when_the_store_had_it_and_not_when_the_wait_was_over() -> None:
    looked_ns: list[int] = []

    class Store(MemoryStore):
        async def states(self, chats: Any) -> list[State | None]:
            looked_ns.append(monotonic_ns())
            return await super().states(chats)

    traces: list[Any] = []

    class Listening(Tracer):
        def write(self, trace: Any) -> None:
            traces.append(trace)

    client = Client()
    async with PushDelivery(Store(Options(), notify=True)) as delivery:
        worker = Worker(Settings(), delivery, None, Listening(None))  # type: ignore[arg-type]  # asks no upstream
        async with delivery.watch("slow", "me"):  # never leaves, so that the whole wait is waited
            request = AbortRequest(request_id="slow", wait_ms=20)
            await AbortResponse(request, "me", worker)({"type": "http"}, client.receive, client.send)
    (trace,) = traces
    assert isinstance(trace, AbortTrace)
    assert trace.outcome == "accepted"
    assert trace.recorded_ns is not None
    assert trace.received_ns <= trace.recorded_ns <= looked_ns[0]


async def test_the_answer_comes_before_its_accounts() -> None:
    events: list[str] = []

    class Listening(Tracer):
        def write(self, _trace: Any) -> None:
            events.append("traced")

    client = Client(lambda _body: events.append("answered"))
    async with PushDelivery(MemoryStore(Options(), notify=True)) as delivery:
        await delivery.store.register(Chat("x", "1", "me", "elsewhere"))
        worker = Worker(Settings(), delivery, None, Listening(None))  # type: ignore[arg-type]  # asks no upstream
        await AbortResponse(AbortRequest(request_id="x"), "me", worker)({"type": "http"}, client.receive, client.send)
    assert events == ["answered", "traced"]
