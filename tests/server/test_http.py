"""The HTTP contract: what a client, and the upstream, see of a chat and of its abort."""

import time
from typing import Any

import httpx2
import openai
import pytest

from tests.server.service import chunks, question, row


async def test_a_chat_streams_to_its_end(service: httpx2.AsyncClient, request_id: str) -> None:
    answer = await service.post("/chat/", json=question("[mock:itl_ms=1]", request_id=request_id))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-request-id"] == request_id
    assert answer.text.endswith("data: [DONE]\n\n")
    events = chunks(answer.text)
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert sum(bool(event["choices"][0]["delta"].get("content")) for event in events) == 50


async def test_a_chat_without_an_id_gets_one(service: httpx2.AsyncClient) -> None:
    answer = await service.post("/chat/", json=question("[mock:output_tokens=1]"))
    assert len(answer.headers["x-request-id"]) >= 16


async def test_plain_text_on_request(service: httpx2.AsyncClient) -> None:
    body = question("[mock:output_tokens=5]")
    streamed = await service.post("/chat/", json=body)
    text = await service.post("/chat/", json=body, headers={"Accept": "text/plain"})
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    expected = "".join(event["choices"][0]["delta"].get("content") or "" for event in chunks(streamed.text))
    assert text.text == expected


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("flowing", "[mock:output_tokens=2000]"),
        ("silent", "[mock:output_tokens=20,stall_at=5,stall_ms=60000]"),
        ("first token", "[mock:ttft_ms=60000]"),
    ],
)
async def test_an_abort_stops_both_sides(
    service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str, moment: str, text: str
) -> None:
    async with service.stream("POST", "/chat/", json=question(text, request_id=request_id)) as answer:
        body, lines = "", answer.aiter_lines()
        while moment != "first token" and len(chunks(body)) < 5:
            body += await anext(lines) + "\n"
        sent_ns = time.monotonic_ns()
        abort = await service.post("/abort/", json={"request_id": request_id})
        assert abort.json() == {
            "message": f"Streaming for request {request_id} will be aborted.",
            "request_id": request_id,
            "status": "accepted",
        }
        body += "".join([line + "\n" async for line in lines])
    last = chunks(body)[-1]
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "abort"}]
    assert last["id"] == chunks(body)[0]["id"]
    assert (moment == "first token") == (len(chunks(body)) == 1)
    assert body.rstrip().endswith("data: [DONE]")
    seen = await row(mock, request_id)
    assert seen["outcome"] == "cut"
    assert seen["lost_ns"] > sent_ns
    assert sum(token_ns > sent_ns for token_ns in seen["token_ns"]) < 50


async def test_a_client_that_leaves_closes_the_upstream(
    service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str
) -> None:
    text = "[mock:output_tokens=20,stall_at=5,stall_ms=60000]"
    async with service.stream("POST", "/chat/", json=question(text, request_id=request_id)) as answer:
        await anext(answer.aiter_bytes())
    assert (await row(mock, request_id))["outcome"] == "cut"


async def test_a_second_abort_and_one_after_the_end(service: httpx2.AsyncClient, request_id: str) -> None:
    async with service.stream("POST", "/chat/", json=question("[mock:ttft_ms=60000]", request_id=request_id)) as answer:
        statuses = [(await service.post("/abort/", json={"request_id": request_id})).json()["status"]]
        await answer.aread()
    assert statuses == ["accepted"]
    late = await service.post("/abort/", json={"request_id": request_id})
    assert (late.status_code, late.json()) == (404, {"detail": "Request ID not found"})


async def test_an_abort_before_its_chat(service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str) -> None:
    early = await service.post("/abort/", json={"request_id": request_id})
    assert (early.status_code, early.json()) == (404, {"detail": "Request ID not found", "remembered_s": 10.0})
    answer = await service.post("/chat/", json=question(request_id=request_id))
    assert [event["choices"][0]["finish_reason"] for event in chunks(answer.text)] == ["abort"]
    assert (await mock.get("/__mock/journal", params={"id": request_id})).json()["rows"] == []


async def test_a_live_duplicate_gets_409(service: httpx2.AsyncClient, request_id: str) -> None:
    async with service.stream("POST", "/chat/", json=question("[mock:ttft_ms=60000]", request_id=request_id)) as answer:
        double = await service.post("/chat/", json=question(request_id=request_id))
        assert double.status_code == 409
        await service.post("/abort/", json={"request_id": request_id})
        await answer.aread()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/", b'{"model": "m", "messages": [', 422),
        ("/chat/", b"{}", 422),
        ("/chat/", b'{"model": "m", "messages": []}', 422),
        ("/chat/", b'{"model": "m", "messages": [{"role": "user"}], "request_id": ""}', 422),
        ("/chat/", b'{"model": "m", "messages": [{"role": "user"}], "request_id": "' + b"x" * 129 + b'"}', 422),
        ("/chat/", b'{"model": "m", "messages": [{"role": "user"}], "request_id": "a\\nb"}', 422),
        ("/chat/", b'{"model": "' + b"x" * (16 * 1024 * 1024) + b'"}', 413),
        ("/abort/", b"{}", 422),
        ("/abort/", b'{"request_id": 7}', 422),
        ("/abort/", b"[" * 100_000, 422),
        ("/abort/", b"\xff", 422),
        ("/abort/", b'{"request_id": "nobody"}', 404),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_bad_input_is_refused(service: httpx2.AsyncClient, path: str, body: bytes, status: int) -> None:
    answer = await service.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["detail"]


async def test_a_body_without_a_length_is_bounded_too(service: httpx2.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(20 * 16):
            yield b" " * 65536

    answer = await service.post("/chat/", content=endless())
    assert answer.status_code == 413


async def test_an_upstream_error_keeps_its_status_and_reason(service: httpx2.AsyncClient, request_id: str) -> None:
    answer = await service.post("/chat/", json=question("[mock:fault=http_429]", request_id=request_id))
    assert answer.status_code == 429
    assert answer.json()["error"]["message"]
    assert answer.headers["retry-after"]


async def test_an_upstream_that_fails_is_a_bad_gateway(service: httpx2.AsyncClient) -> None:
    answer = await service.post("/chat/", json=question("[mock:fault=http_500]"))
    assert answer.status_code == 502


async def test_an_upstream_that_dies_in_the_middle_ends_in_an_error_event(service: httpx2.AsyncClient) -> None:
    answer = await service.post("/chat/", json=question("[mock:fault=cut]"))
    assert answer.status_code == 200
    assert "event: error\n" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")


async def test_the_key_reaches_no_client(service: httpx2.AsyncClient) -> None:
    for text in ("[mock:output_tokens=1]", "[mock:fault=http_429]"):
        answer = await service.post("/chat/", json=question(text))
        assert "sk-a-secret" not in answer.text + str(answer.headers)


async def test_the_official_client_can_stream_from_the_chat_path(service_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=service_url, api_key="none") as client:
        stream = await client.post(
            "/chat/", body=question("[mock:output_tokens=3]"), cast_to=object, stream=True,
            stream_cls=openai.AsyncStream[openai.types.chat.ChatCompletionChunk],
        )  # fmt: skip
        reasons = [chunk.choices[0].finish_reason async for chunk in stream]
    assert reasons[-1] == "stop"


async def test_a_confirmed_stop(service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str) -> None:
    async with service.stream("POST", "/chat/", json=question("[mock:ttft_ms=60000]", request_id=request_id)) as answer:
        abort = await service.post("/abort/", json={"request_id": request_id, "wait_ms": 5000})
        confirmed_ns = time.monotonic_ns()
        assert abort.json()["status"] == "stopped"
        await answer.aread()
    # The service had closed its side; the mock receives that within the kernel's latency.
    assert (await row(mock, request_id))["lost_ns"] < confirmed_ns + 50_000_000


async def test_healthz_names_the_strategy(service: httpx2.AsyncClient) -> None:
    answer = (await service.get("/healthz")).json()
    assert answer["strategy"] == "redis-push"
    assert answer["status"] == "ok"


async def test_readyz_shows_the_counters(service: httpx2.AsyncClient) -> None:
    answer = await service.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["lost"] == 0
