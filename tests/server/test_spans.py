"""Spans as a user gets them: a collector, two workers, and nothing sent before they end."""

import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.api import abort
from server.api.abort import AbortRequest, AbortResponse
from server.ops.trace import Tracer
from server.relay import chat
from server.relay.chat import ChatResponse
from server.settings import Settings
from tests.server.harness import Client
from tests.server.service import NO_TLS, SILENT, question, serve, strategy

KEY, UPSTREAM_KEY, ASKED = "alice-key", "sk-a-secret", "what nobody else may read"


@dataclass
class Collector:
    """Takes OTLP over HTTP, as an OpenTelemetry collector does, and keeps it as it came."""

    url: str
    received: list[tuple[str, bytes]] = field(default_factory=list)

    def spans(self) -> dict[tuple[str, str], dict[str, str]]:
        """The service's own spans by name and request ID, with their other attributes."""
        found = {}
        for path, body in self.received:
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        for span in scope.spans if scope.scope.name == "stopwatch.server" else ():
                            more = {each.key: each.value.string_value for each in span.attributes}
                            found[span.name, more.pop("request_id")] = more
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        kept = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield kept
        server.shutdown()
        thread.join()


def client_of(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, timeout=20, headers={"Authorization": f"Bearer {KEY}"}, verify=NO_TLS)


async def connected(url: str, workers: int, open_until: AsyncExitStack) -> dict[int, httpx2.AsyncClient]:
    """For each worker, by process ID, a client that keeps a connection to it."""
    clients: dict[int, httpx2.AsyncClient] = {}
    while len(clients) < workers:
        client = await open_until.enter_async_context(client_of(url))
        clients.setdefault((await client.get("/healthz")).json()["pid"], client)
    return clients


async def test_every_workers_chats_and_aborts_are_exported(
    upstream_url: str, redis_url: str, collector: Collector
) -> None:
    expected, answers = {}, []
    with serve(
        upstream_url,
        workers=2,
        backend=strategy(redis_url),
        OPENAI_API_KEY=UPSTREAM_KEY,
        API_KEYS=KEY,
        FASTAPI_OTEL_AUTO_CONFIGURE="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="3600000",  # ms: what is not flushed at the end does not come
    ) as service:
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(client_of(service.url))
            for pid, client in (await connected(service.url, 2, stack)).items():
                done, stopped = f"done-{pid}", f"stopped-{pid}"
                body = question(f"{ASKED} [mock:output_tokens=20,itl_ms=1]", request_id=done)
                answers.append((await client.post("/chat/", json=body, headers={"Accept": "text/plain"})).text)
                body = question(f"{ASKED} {SILENT}", request_id=stopped)
                async with other.stream("POST", "/chat/", json=body) as answer:
                    await client.post("/abort/", json={"request_id": stopped, "wait_ms": 10_000})
                    await answer.aread()
                expected["chat", done] = {"finish_reason": "stop"}
                expected["chat", stopped] = {"finish_reason": "abort"}
                expected["abort", stopped] = {"outcome": "stopped"}
        assert not collector.spans()
    assert collector.spans() == expected
    everything = b"".join(body for _, body in collector.received)
    assert all(answers)
    for secret in (KEY, UPSTREAM_KEY, ASKED, *answers):
        assert secret.encode() not in everything


def test_a_collector_that_is_away_delays_nothing_but_the_end(upstream_url: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        with serve(
            upstream_url,
            stderr=log,
            FASTAPI_OTEL_AUTO_CONFIGURE="true",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:9/v1/traces",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        ) as service:
            answer = httpx2.post(f"{service.url}/chat/", json=question("[mock:output_tokens=1]"), timeout=20)
            assert answer.status_code == 200
        assert service.process.returncode == 0
        log.seek(0)
        lines = [json.loads(line) for line in log]
    assert any("export" in line["message"] for line in lines)


async def test_what_an_exception_quotes_is_in_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    for module in (abort, chat):
        monkeypatch.setattr(module, "SPANS", provider.get_tracer("test"))
    # It neither admits nor aborts.
    worker: Any = SimpleNamespace(record_end=lambda *_, **__: None, tracer=Tracer(None), settings=Settings())
    client = Client()
    for response in (
        ChatResponse({}, request_id="x", owner="me", worker=worker),
        AbortResponse(AbortRequest(request_id="x"), "me", worker),
    ):
        with pytest.raises(AttributeError):
            await response({"type": "http"}, client.receive, client.send)
    spans = exported.get_finished_spans()
    assert [span.name for span in spans] == ["chat", "abort"]
    assert not any("AttributeError" in span.to_json() for span in spans)
