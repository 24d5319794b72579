"""Responses, completions and embeddings with the official client, and their rows in the journal."""

import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent

from tests.mock_llm.conftest import Mock

DELTA = "response.output_text.delta"
ENDLESS = "[mock:itl_ms=5,output_tokens=2000]"
EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    *[DELTA] * 12,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


@pytest.fixture
async def client(mock: Mock) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_a_responses_stream_has_openai_s_events_in_order(client: AsyncOpenAI) -> None:
    events = [event async for event in await client.responses.create(model="m", input="hello there", stream=True)]
    assert [event.type for event in events] == [*EVENTS, "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last: Any = events[-1]
    deltas = "".join(event.delta for event in events if isinstance(event, ResponseTextDeltaEvent))
    assert last.response.output_text == deltas
    assert last.response.status == "completed"
    usage = last.response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (2, 12, 14)


async def test_the_client_s_helper_assembles_the_stream(client: AsyncOpenAI) -> None:
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]
    async with client.responses.stream(model="m", input=items, instructions="be brief") as stream:
        response = await stream.get_final_response()
    whole = await client.responses.create(model="m", input="hello")
    assert response.output_text == whole.output_text
    assert (await client.responses.retrieve(whole.id)).output_text == whole.output_text


async def test_a_limited_response_is_incomplete(client: AsyncOpenAI) -> None:
    whole = await client.responses.create(model="m", input="hello", max_output_tokens=3)
    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"


async def test_a_responses_stream_that_its_client_closes_is_cut(client: AsyncOpenAI, mock: Mock) -> None:
    stream = await client.responses.create(model="m", input=f"[bench:r-cut] {ENDLESS}", stream=True)
    created: Any = await anext(aiter(stream))
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await client.responses.cancel(created.response.id)
    await stream.close()
    row = mock.ended_row("r-cut")
    assert (row["outcome"], row["background"], row["id_from"]) == ("cut", False, "marker")


async def test_a_background_stream_ends_when_it_is_cancelled(client: AsyncOpenAI, mock: Mock) -> None:
    text = f"[bench:r-cancel] {ENDLESS}"
    stream = await client.responses.create(model="m", input=text, stream=True, background=True)
    id_, after = "", 0
    async for event in stream:
        if event.type == "response.created":
            id_ = event.response.id
            assert event.response.status == "queued"
        elif event.type == DELTA and not after:
            cancelled = await client.responses.cancel(id_)
            assert cancelled.status == "cancelled"
            after = len(mock.journal("r-cancel")[0]["token_ns"])
    row = mock.ended_row("r-cancel")
    assert (row["outcome"], row["lost_ns"], len(row["token_ns"])) == ("cut", None, after)
    assert row["token_ns"][-1] <= row["cancelled_ns"]
    again = await client.responses.cancel(id_)
    assert (again.status, len(again.output_text.split())) == ("cancelled", after)


async def test_a_background_response_survives_its_connection(client: AsyncOpenAI, mock: Mock) -> None:
    text = f"[bench:r-left] {ENDLESS}"
    stream = await client.responses.create(model="m", input=text, stream=True, background=True)
    created: Any = await anext(aiter(stream))
    await stream.close()
    deadline_s = time.monotonic() + 10
    while (row := mock.journal("r-left")[0])["lost_ns"] is None or row["token_ns"][-1:] < [row["lost_ns"]]:
        assert time.monotonic() < deadline_s, row
    assert row["outcome"] == "open"
    assert (await client.responses.cancel(created.response.id)).status == "cancelled"
    assert mock.ended_row("r-left")["outcome"] == "cut"


async def test_a_background_response_is_polled(client: AsyncOpenAI, mock: Mock) -> None:
    queued = await client.responses.create(model="m", input="[bench:r-poll] hello", background=True)
    assert queued.status in ("queued", "in_progress")
    row = mock.ended_row("r-poll")
    assert (row["outcome"], len(row["token_ns"])) == ("finished", 12)
    ended = await client.responses.retrieve(queued.id)
    assert (ended.status, len(ended.output_text.split())) == ("completed", 12)


async def test_an_unknown_response_is_not_found(client: AsyncOpenAI) -> None:
    for call in (client.responses.retrieve, client.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="'resp_x' not found"):
            await call("resp_x")


async def test_completions(client: AsyncOpenAI, mock: Mock) -> None:
    prompt = "hello there [bench:old]"
    whole = await client.completions.create(model="m", prompt=prompt)
    chunks = [
        chunk
        async for chunk in await client.completions.create(
            model="m", prompt=[prompt], stream=True, stream_options={"include_usage": True}
        )
    ]
    texts = [choice.text for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == whole.choices[0].text
    assert (len(texts), texts[-1], chunks[-2].choices[0].finish_reason) == (13, "", "stop")
    assert whole.usage is not None
    assert whole.usage == chunks[-1].usage
    assert whole.usage.total_tokens == 15
    assert [row["stream"] for row in mock.journal("old")] == [False, True]


async def test_embeddings(client: AsyncOpenAI, mock: Mock) -> None:
    same, other = (await client.embeddings.create(model="m", input=["a b", "c [bench:emb]"])).data
    named = {"X-Request-Id": "emb-2"}
    floats = await client.embeddings.create(model="m", input="a b", encoding_format="float", extra_headers=named)
    assert floats.data[0].embedding == pytest.approx(same.embedding)
    assert same.embedding != other.embedding
    assert sum(value**2 for value in same.embedding) == pytest.approx(1, abs=0.1)
    assert floats.usage.total_tokens == 2
    numbers: Any = [[1, 2], [3]]
    short = await client.embeddings.create(model="m", input=numbers, dimensions=8)
    assert [len(part.embedding) for part in short.data] == [8, 8]
    assert [mock.journal(id_)[0]["outcome"] for id_ in ("emb", "emb-2")] == ["finished", "finished"]


async def test_a_background_response_cannot_lose_its_connection_by_a_fault(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="needs a connection"):
        await client.responses.create(model="m", input="[mock:fault=cut]", background=True)
