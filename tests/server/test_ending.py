"""Ending well: SIGTERM, an upstream that falls silent, a client that leaves."""

import asyncio
import json
import signal
import socket
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.processes import running
from tests.server.test_http import chunks, question, row


async def test_a_client_that_leaves_closes_the_upstream_at_once(
    service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str
) -> None:
    """The bound is wide for a noisy machine; the benchmark holds the figure (`disconnect`)."""
    took_ms = []
    for number in range(9):
        name = f"{request_id}-{number}"
        body = question("[mock:output_tokens=20,stall_at=2,stall_ms=60000]", request_id=name)
        async with service.stream("POST", "/chat/", json=body) as answer:
            await anext(answer.aiter_bytes())
            left_ns = time.monotonic_ns()
        took_ms.append(((await row(mock, name))["lost_ns"] - left_ns) / 1e6)
    assert statistics.median(took_ms) < 50


async def test_a_silent_upstream_is_given_up(upstream_url: str) -> None:
    with running(
        *("server", "--port", "0", "--workers", "1"), OPENAI_BASE_URL=f"{upstream_url}/v1", UPSTREAM_IDLE_S="0.3"
    ) as service:
        async with httpx2.AsyncClient(base_url=service.url, timeout=20) as client:
            slow = await client.post("/chat/", json=question("[mock:output_tokens=30,itl_ms=50]"))
            assert chunks(slow.text)[-1]["choices"][0]["finish_reason"] == "stop"  # longer, but never silent for long
            stalled = await client.post("/chat/", json=question("[mock:output_tokens=9,stall_at=2,stall_ms=60000]"))
            assert stalled.status_code == 200
            assert '"type":"upstream_timeout"' in stalled.text
            assert stalled.text.endswith("data: [DONE]\n\n")
            whole = question("[mock:ttft_ms=60000]")
            assert (await client.post("/v1/chat/completions", json=whole)).status_code == 504


async def test_sigterm_lets_chats_end_and_then_says_why_it_ends_them(
    upstream_url: str, mock: httpx2.AsyncClient, request_id: str, tmp_path: Path
) -> None:
    """Those that still run after DRAIN_S: streamed on both paths, as text, whole, and one without its first byte."""
    with running(
        *("server", "--port", "0", "--workers", "2"),
        OPENAI_BASE_URL=f"{upstream_url}/v1",
        DRAIN_S="1.0",
        HEADERS_GRACE_S="60",
        TRACE_DIR=str(tmp_path),
        MEMORY_WITH_WORKERS="true",
    ) as service:
        async with httpx2.AsyncClient(base_url=service.url, timeout=20) as client:
            endless, silent = "[mock:ttft_ms=20,output_tokens=30000]", "[mock:ttft_ms=60000]"

            async def chat(name: str, path: str, text: str, accept: str = "", **more: Any) -> httpx2.Response:
                body = question(text, **more) | ({"request_id": f"{request_id}-{name}"} if path == "/chat/" else {})
                headers = {"Accept": accept, "X-Request-Id": f"{request_id}-{name}"}
                return await client.post(path, json=body, headers=headers)

            async def asked(name: str) -> None:
                while not (await mock.get("/__mock/journal", params={"id": f"{request_id}-{name}"})).json()["rows"]:
                    pass

            async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
                v1 = "/v1/chat/completions"
                short = tasks.create_task(chat("short", "/chat/", "[mock:ttft_ms=300,output_tokens=10]"))
                streams = [
                    tasks.create_task(chat("native", "/chat/", endless)),
                    tasks.create_task(chat("v1", v1, endless, stream=True)),
                ]
                not_begun = [
                    tasks.create_task(chat("silent", "/chat/", silent)),
                    tasks.create_task(chat("whole", v1, silent)),
                ]

                async def text() -> None:
                    with pytest.raises(httpx2.RemoteProtocolError):  # what is not complete does not look so
                        await chat("text", "/chat/", endless, "text/plain")

                tasks.create_task(text())
                for name in ("short", "native", "v1", "silent", "whole", "text"):
                    await asked(name)
                service.process.send_signal(signal.SIGTERM)
            assert chunks(short.result().text)[-1]["choices"][0]["finish_reason"] == "stop"
            for stream in streams:
                *_, last, done = stream.result().text.removesuffix("\n\n").split("\n\n")
                assert last.startswith("event: error\ndata: ")
                assert json.loads(last.split("data: ")[1])["error"]["message"] == "server is shutting down"
                assert done == "data: [DONE]"
                assert "abort" not in last
            for whole in not_begun:
                assert whole.result().status_code == 503
                assert whole.result().headers["Retry-After"]
                assert whole.result().json()["error"]["code"] == "shutdown"
        assert await asyncio.to_thread(service.process.wait, 10) == 0
    assert reasons_traced(tmp_path) == {"shutdown": 5, "stop": 1}


def reasons_traced(folder: Path) -> Counter[str]:
    lines = [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]
    return Counter(line["finish_reason"] for line in lines if line["kind"] == "chat")


async def test_metrics_count_all_workers(service: httpx2.AsyncClient, request_id: str) -> None:
    def value(text: str, name: str) -> float:
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    before = (await service.get("/metrics")).text
    for number in range(8):  # new connections: both workers get some
        await service.post("/chat/", json=question("[mock:output_tokens=1]", request_id=f"{request_id}-{number}"))
    after = (await service.get("/metrics")).text
    name = 'stopwatch_chats_total{finish_reason="stop"}'
    assert value(after, name) - value(before, name) == 8
    assert "sk-a-secret" not in after


async def test_the_log_is_json_and_holds_no_secret(upstream_url: str, tmp_path: Any) -> None:
    log = tmp_path / "log"
    with (
        log.open("w") as stderr,
        running(
            *("server", "--port", "0", "--workers", "1"),
            stderr=stderr,
            OPENAI_BASE_URL=f"{upstream_url}/v1",
            OPENAI_API_KEY="sk-a-secret",
        ) as service,
    ):
        async with httpx2.AsyncClient(base_url=service.url, timeout=20) as client:
            await client.post("/chat/", json=question("my question [mock:output_tokens=1]", request_id="logged-1"))
            await client.post("/abort/", json={"request_id": "logged-1"})
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["message"], line.get("request_id")) for line in lines] == [
        ("chat", "logged-1"),
        ("abort", "logged-1"),
        ("Invalid HTTP request received.", None),  # uvicorn's
        ("drain", None),
    ]
    assert lines[0]["finish_reason"] == "stop"
    assert "sk-a-secret" not in log.read_text()
    assert "my question" not in log.read_text()
