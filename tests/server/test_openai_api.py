"""OpenAI's own paths, through the official client: chats that any OpenAI program starts can be stopped, too."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import openai
import pytest

from tests.server.service import POLL_S


@pytest.fixture
async def client(service_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{service_url}/v1", api_key="none", max_retries=0) as one:
        yield one


def ask(text: str) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


async def test_models_are_the_upstreams(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()]


async def test_a_stream_with_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="mock", messages=ask("[mock:output_tokens=5]"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


async def test_a_whole_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="mock", messages=ask("[mock:output_tokens=5]"))
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


async def test_a_stream_can_be_stopped(
    client: openai.AsyncOpenAI, service: httpx2.AsyncClient, request_id: str
) -> None:
    stream = await client.chat.completions.create(
        model="mock", messages=ask("[mock:ttft_ms=60000]"), stream=True, extra_headers={"X-Request-Id": request_id}
    )
    abort = await service.post("/abort/", json={"request_id": request_id, "wait_ms": 5000})
    assert abort.json()["status"] == "stopped"
    (last,) = [chunk async for chunk in stream]
    assert last.choices[0].finish_reason == "length"  # there was no text, see server.relay.chunks.NO_TEXT
    assert last.model_extra == {"delivered_chunks": 0, "aborted": True}


async def test_a_stopped_stream_with_usage(
    client: openai.AsyncOpenAI, service: httpx2.AsyncClient, request_id: str
) -> None:
    stream = await client.chat.completions.create(
        model="mock",
        messages=ask("[mock:stall_at=3,stall_ms=60000]"),
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"X-Request-Id": request_id},
    )
    chunks = []
    async for chunk in stream:
        chunks.append(chunk)
        if sum(bool(each.choices and each.choices[0].delta.content) for each in chunks) == 3:
            await service.post("/abort/", json={"request_id": request_id})
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 3)
    assert chunks[-1].model_extra == {"usage_estimated": True}


async def test_a_whole_answer_can_be_stopped(
    client: openai.AsyncOpenAI, service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str
) -> None:
    """It is an error, and one that no client tries again: that would be paid for twice."""
    trying = client.with_options(max_retries=2).chat.completions

    async def whole() -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            await trying.create(
                model="mock", messages=ask("[mock:ttft_ms=60000]"), extra_headers={"X-Request-Id": request_id}
            )
        return caught.value

    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(whole())
        # Until the upstream has it: an abort that comes earlier is another test.
        while not (await mock.get("/__mock/journal", params={"id": request_id})).json()["rows"]:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        abort = await service.post("/abort/", json={"request_id": request_id, "wait_ms": 5000})
        assert abort.json()["status"] == "stopped"
    error = answer.result()
    assert (error.status_code, error.code) == (499, "aborted")
    assert error.response.headers["X-Request-Id"] == request_id
    assert len((await mock.get("/__mock/journal", params={"id": request_id})).json()["rows"]) == 1


async def test_errors_keep_their_class(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="mock", messages=ask("[mock:fault=http_429]"))
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="mock", messages=ask("[mock:fault=http_429]"), stream=True)
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="mock", messages=ask("[mock:fault=http_500]"))
