"""The event cutter: whole events only, whatever the upstream's writes look like."""

import json
from collections.abc import AsyncIterator

import pytest

from server import sse

CHUNK = (
    b'data: {"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}'
)
STREAM = b"\n\n".join([CHUNK, b": a comment", CHUNK, b"data: [DONE]"]) + b"\n\n"


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 50, 113, 114, 10_000])
async def test_only_whole_events_come_out_unchanged(size: int, line_end: bytes) -> None:
    data = STREAM.replace(b"\n", line_end)
    out = [events async for events in sse.whole_events(pieces(data, size))]
    assert all(events.endswith(line_end * 2) for events in out)
    assert b"".join(out) == data


async def test_an_empty_line_at_the_very_start_is_an_event_end() -> None:
    out = [events async for events in sse.whole_events(pieces(b"\n\ndata: 1\n\n", 4))]
    assert out == [b"\n\n", b"data: 1\n\n"]


async def test_half_an_event_at_the_end_is_dropped() -> None:
    out = [events async for events in sse.whole_events(pieces(STREAM + b'data: {"cut', 1000))]
    assert b"".join(out) == STREAM


async def test_an_endless_event_is_refused() -> None:
    with pytest.raises(sse.EventTooLargeError):
        async for _ in sse.whole_events(pieces(b"data: " + b"x" * 5000, 100), most_bytes=1000):
            pass


def test_text_of_passes_over_what_carries_none() -> None:
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    assert sse.text_of(role + usage + b": data: a comment\n\n" + STREAM) == "hihi"


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[null]}', b'{"choices":[7]}', b'{"choices":7}', b'{"choices":[{"delta":7}]}', b"7", b"nonsense",
        b'{"choices":[{"delta":{"content":7}}]}', b'{"error":{"message":"down"}}', b"[" * 100_000,
    ],
    ids=lambda data: data[:40].decode(),
)  # fmt: skip
def test_what_is_no_chunk_is_no_text_and_no_reason(data: bytes) -> None:
    events = b"data: " + data + b"\n\n"
    with pytest.raises(sse.MalformedEventError):
        sse.text_of(events)
    assert sse.finish_reason_of(events) is None


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_chunks_are_counted_and_comments_and_texts_are_not(line_end: bytes) -> None:
    tricky = json.dumps({"choices": [{"delta": {"content": "\ndata: no chunk"}}]}).encode()
    events = b"\n\n".join([CHUNK, b": data: a comment", b"event: x\ndata:" + tricky, b"data: [DONE]"]) + b"\n\n"
    assert sse.chunks_in(events.replace(b"\n", line_end)) == 3


def test_the_reason_is_found_before_a_usage_chunk() -> None:
    final = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    assert sse.finish_reason_of(CHUNK + b"\n\n" + final + usage + sse.DONE) == "length"


def test_the_abort_event_continues_the_answer() -> None:
    chunk = json.loads(sse.abort_event(CHUNK + b"\n\n", "r1", "asked", 3)[6:])
    assert (chunk["id"], chunk["created"], chunk["model"]) == ("c1", 7, "m")
    assert chunk["choices"][0]["finish_reason"] == "abort"
    assert chunk["delivered_chunks"] == 3


def test_an_abort_before_the_first_event_still_makes_a_chunk() -> None:
    chunk = json.loads(sse.abort_event(b"", "r1", "asked", 0)[6:])
    assert chunk["object"] == "chat.completion.chunk"
    assert (chunk["id"], chunk["model"]) == ("chatcmpl-r1", "asked")
