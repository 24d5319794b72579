"""The official client works as with OpenAI: streams, complete responses, models and error classes."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from tests.mock_llm.conftest import Mock

HELLO: Any = [{"role": "user", "content": "hello there"}]


@pytest.fixture
async def client(mock: Mock) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def stream(client: AsyncOpenAI, **options: Any) -> list[ChatCompletionChunk]:
    answer = await client.chat.completions.create(**{"model": "m", "messages": HELLO} | options, stream=True)
    return [chunk async for chunk in answer]


def text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_a_stream_is_role_then_content_then_finish(client: AsyncOpenAI) -> None:
    chunks = await stream(client)
    first, *middle, last = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert len(middle) == 12
    assert all(chunk.choices[0].delta.content and chunk.choices[0].finish_reason is None for chunk in middle)
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {(first.id, "chat.completion.chunk", "m")}
    assert abs(first.created - time.time()) < 60
    assert "usage" not in first.to_dict()


async def test_usage_is_a_separate_chunk(client: AsyncOpenAI) -> None:
    *others, last = await stream(client, stream_options={"include_usage": True})
    assert all(chunk.to_dict()["usage"] is None for chunk in others)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (2, 12, 14)


async def test_max_tokens_limits_the_response_with_reason_length(client: AsyncOpenAI) -> None:
    for limit in ("max_tokens", "max_completion_tokens"):
        chunks = await stream(client, **{limit: 4})
        assert len(chunks) == 1 + 4 + 1
        assert chunks[-1].choices[0].finish_reason == "length"
    chunks = await stream(client, max_tokens=12)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_complete_response_has_the_same_text(client: AsyncOpenAI) -> None:
    options = {"extra_headers": {"X-Mock-Output-Tokens": "200"}}  # enough for every special word
    whole: Any = await client.chat.completions.create(model="m", messages=HELLO, **options)  # type: ignore[call-overload]
    assert whole.choices[0].message.content == text(await stream(client, **options))
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens == 200
    assert all(word in whole.choices[0].message.content for word in ('"quoted"', "back\\slash", "東京", "café"))


async def test_the_same_seed_gives_the_same_text(client: AsyncOpenAI) -> None:
    first, again, other = [text(await stream(client, seed=seed)) for seed in (5, 5, 6)]
    assert first == again
    assert first != other
    assert (
        text(await stream(client, seed=5, max_tokens=6))
        == first[: len(text(await stream(client, seed=5, max_tokens=6)))]
    )
    assert text(await stream(client, extra_headers={"X-Mock-Seed": "5"})) == first


async def test_models(client: AsyncOpenAI) -> None:
    models = await client.models.list()
    assert [model.id for model in models.data] == ["mock-gpt"]
    assert (await client.models.retrieve("mock-gpt")).id == "mock-gpt"
    with pytest.raises(openai.NotFoundError, match="'nope' does not exist"):
        await client.models.retrieve("nope")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"messages": []}, "messages"),
        ({"model": ""}, "model"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"n": 2}, "'n'"),
        ({"extra_headers": {"X-Mock-ITL-Ms": "-1"}}, "itl_ms: Input should be greater than or equal to 0"),
        ({"extra_headers": {"X-Mock-ITL": "5"}}, "unknown mock setting 'itl'; choose from headers_ms, ttft_ms, itl_ms"),
        ({"messages": [{"role": "user", "content": "[mock:itl_ms]"}]}, "not name=value"),
    ],
)
async def test_bad_input_is_a_bad_request_error(client: AsyncOpenAI, options: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await stream(client, **options)
    assert message in str(raised.value)
    assert raised.value.type == "invalid_request_error"


async def test_stream_options_without_stream_are_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="only allowed when 'stream' is enabled"):
        await client.chat.completions.create(model="m", messages=HELLO, stream_options={"include_usage": True})


async def test_other_paths_are_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        await client.images.generate(prompt="x")


async def test_injected_http_faults(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        await stream(client, extra_headers={"X-Mock-Fault": "http_429"})
    assert limited.value.response.headers["retry-after"] == "1"
    marked = [{"role": "user", "content": [{"type": "text", "text": "[mock:fault=http_500]"}]}]
    with pytest.raises(openai.InternalServerError):
        await stream(client, messages=marked)


@pytest.mark.parametrize(("fault", "error"), [("cut", openai.APIConnectionError), ("bad_json", json.JSONDecodeError)])
async def test_injected_faults_mid_stream(client: AsyncOpenAI, fault: str, error: type[Exception]) -> None:
    seen: list[ChatCompletionChunk] = []

    async def read() -> None:
        answer = await client.chat.completions.create(
            model="m", messages=HELLO, stream=True, extra_headers={"X-Mock-Fault": fault}
        )
        async with answer:
            async for chunk in answer:
                seen.append(chunk)

    with pytest.raises(error):
        await read()
    assert len(seen) == 1 + 6, "role chunk and half of the tokens come first"


async def test_a_share_of_requests_fails_and_a_retry_draws_again(mock: Mock) -> None:
    headers = {"X-Mock-Fault": "http_500", "X-Mock-Fault-Rate": "0.5", "X-Mock-Output-Tokens": "1"}
    outcomes = []
    async with AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="none", max_retries=0) as client:
        for number in range(40):
            named = headers | {"X-Request-Id": f"share-{number}"}
            try:
                await stream(client, extra_headers=named)
                outcomes.append(True)
            except openai.InternalServerError:
                outcomes.append(False)
                for attempt in range(1, 20):
                    try:
                        await stream(client, extra_headers=named | {"X-Stainless-Retry-Count": str(attempt)})
                        break
                    except openai.InternalServerError:
                        continue
                else:
                    pytest.fail("no retry succeeded")
    assert 8 < sum(outcomes) < 32
