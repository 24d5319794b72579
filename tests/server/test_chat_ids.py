"""By which id a chat can be stopped: the body's, X-Chat-Id, X-Request-Id if it is valid and free, or a fresh one."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.server.service import chunks, question, row

WAYS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "chat": ("/chat/", {}, {}),
    "text": ("/chat/", {}, {"Accept": "text/plain"}),
    "v1-stream": ("/v1/chat/completions", {"stream": True}, {}),
    "v1-whole": ("/v1/chat/completions", {"stream": False}, {}),
}
SHORT, ENDLESS = "[mock:output_tokens=1]", "[mock:ttft_ms=60000]"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def ask(service: httpx2.AsyncClient, way: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
    path, more, accept = WAYS[way]
    text = body.pop("text", SHORT)
    sent = {name.encode(): value.encode() for name, value in (accept | headers).items()}
    return await service.post(path, json=question(text, **more, **body), headers=sent)


def id_of(answer: httpx2.Response) -> str:
    assert answer.headers["x-chat-id"] == answer.headers["x-request-id"]
    return str(answer.headers["x-chat-id"])


async def stop(service: httpx2.AsyncClient, request_id: str) -> None:
    abort = await service.post("/abort/", json={"request_id": request_id, "wait_ms": 5000})
    assert abort.json()["status"] == "stopped"


async def test_parallel_calls_of_one_trace_are_all_answered(
    service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str, way: str
) -> None:
    trace = {"X-Request-Id": request_id}
    async with service.stream("POST", "/chat/", json=question(ENDLESS), headers=trace) as first:
        assert id_of(first) == request_id
        second = await ask(service, way, trace)
        assert second.status_code == 200
        assert id_of(second) != request_id
        assert (await row(mock, id_of(second)))["outcome"] == "finished"  # the upstream got the same id
        await stop(service, request_id)
        await first.aread()
    assert id_of(await ask(service, way, trace)) == request_id  # free again: an SDK's retry keeps it


async def test_of_calls_at_the_same_moment_one_at_most_has_the_id(
    service: httpx2.AsyncClient, request_id: str, way: str
) -> None:
    trace = {"X-Request-Id": request_id}
    text = "[mock:output_tokens=1,ttft_ms=500]"
    answers = await asyncio.gather(*(ask(service, way, trace, text=text) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    ids = [id_of(answer) for answer in answers]
    assert len(set(ids)) == 8
    assert request_id in ids


@pytest.mark.parametrize("odd", ["a, b", "x" * 200, "", "a b", "a\tb", "ünï"])
async def test_an_odd_trace_id_refuses_no_chat(service: httpx2.AsyncClient, way: str, odd: str) -> None:
    answer = await ask(service, way, {"X-Request-Id": odd})
    assert answer.status_code == 200
    assert len(id_of(answer)) >= 16
    assert id_of(answer) != odd


async def test_the_body_comes_before_our_header_and_that_before_the_trace(
    service: httpx2.AsyncClient, request_id: str, way: str
) -> None:
    headers = {"X-Chat-Id": f"{request_id}-chat", "X-Request-Id": f"{request_id}-trace"}
    assert id_of(await ask(service, way, headers, request_id=request_id)) == request_id
    assert id_of(await ask(service, way, headers)) == f"{request_id}-chat"
    del headers["X-Chat-Id"]
    assert id_of(await ask(service, way, headers)) == f"{request_id}-trace"


async def test_a_chosen_id_that_is_live_stays_a_409(service: httpx2.AsyncClient, request_id: str, way: str) -> None:
    header = {"X-Chat-Id": request_id}
    async with service.stream("POST", "/chat/", json=question(ENDLESS), headers=header) as first:
        assert id_of(first) == request_id
        for headers, body in ((header, {}), ({}, {"request_id": request_id})):
            double = await ask(service, way, headers, **body)
            assert double.status_code == 409
            assert id_of(double) == request_id
        await stop(service, request_id)
        await first.aread()


@pytest.mark.parametrize("invalid", ["x" * 129, "", "a b", "ü"])
async def test_an_invalid_chosen_id_is_a_422(service: httpx2.AsyncClient, way: str, invalid: str) -> None:
    answer = await ask(service, way, {"X-Chat-Id": invalid})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "x-chat-id"]
    answer = await ask(service, way, {}, request_id=invalid)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "request_id"]


@pytest.mark.parametrize("header", ["X-Chat-Id", "X-Request-Id"])
async def test_an_abort_before_its_chat_stops_it_by_either_header(
    service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str, header: str
) -> None:
    early = await service.post("/abort/", json={"request_id": request_id})
    assert early.json()["remembered_s"]
    answer = await ask(service, "chat", {header: request_id})
    assert [event["choices"][0]["finish_reason"] for event in chunks(answer.text)] == ["abort"]
    assert id_of(answer) == request_id
    assert (await mock.get("/__mock/journal", params={"id": request_id})).json()["rows"] == []


async def test_a_failed_chat_has_its_id_in_the_headers(service: httpx2.AsyncClient, request_id: str, way: str) -> None:
    answer = await ask(service, way, {"X-Request-Id": request_id}, text="[mock:fault=http_429]")
    assert answer.status_code == 429
    assert id_of(answer) == request_id
