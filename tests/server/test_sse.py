"""The event cutter: whole events only, whatever the upstream's writes look like."""

import asyncio
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
    out = [events async for events in sse.group_events(pieces(data, size))]
    assert all(events.endswith(line_end * 2) for events in out)
    assert b"".join(out) == data


@pytest.mark.parametrize("size", [1, 2, 3, 50, 113, 114, 10_000])
async def test_a_lone_cr_ends_a_line_and_comes_out_as_lf(size: int) -> None:
    out = [events async for events in sse.group_events(pieces(STREAM.replace(b"\n", b"\r"), size))]
    assert b"".join(out) == STREAM


async def test_an_event_with_lone_crs_does_not_wait_for_the_next_read() -> None:
    async def one_read() -> AsyncIterator[bytes]:
        yield CHUNK + b"\r\r"
        pytest.fail("the event was complete")

    events = sse.group_events(one_read())
    assert await anext(events) == CHUNK + b"\n\n"
    await events.aclose()


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [CHUNK, b"data:[DONE]", b"event: error\ndata: down", b'data: {"choices":\ndata: []}'])
async def test_a_complete_event_at_the_end_needs_no_empty_line(last: bytes, line_end: bytes, size: int) -> None:
    out = [events async for events in sse.group_events(pieces(CHUNK + b"\n\n" + last + line_end, size))]
    assert b"".join(out).replace(b"\r", b"") == CHUNK + b"\n\n" + last + b"\n\n"


async def test_json_in_place_of_a_stream_comes_out_as_an_event() -> None:
    pretty = json.dumps({"error": {"message": "down"}}, indent=2).encode()
    out = [events async for events in sse.group_events(pieces(pretty, 5))]
    assert out == [b'data: {"error":{"message":"down"}}\n\n']


async def test_done_does_not_wait_for_its_empty_line() -> None:
    async def one_read() -> AsyncIterator[bytes]:
        yield CHUNK + b"\r\n\r\ndata: [DONE]\r\n"
        pytest.fail("nothing can follow")

    events = sse.group_events(one_read())
    assert [await anext(events), await anext(events)] == [CHUNK + b"\r\n\r\n", b"data: [DONE]\r\n\r\n"]
    await events.aclose()


async def test_an_empty_line_at_the_very_start_is_an_event_end() -> None:
    out = [events async for events in sse.group_events(pieces(b"\n\ndata: 1\n\n", 4))]
    assert out == [b"\n\n", b"data: 1\n\n"]


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("half", [b'data: {"cut', b"data", b": a", b"event: x\nid: 7\n", b'data: "cut"', b'{"cut":'])
async def test_half_an_event_at_the_end_is_dropped(half: bytes, size: int) -> None:
    out = [events async for events in sse.group_events(pieces(STREAM + half, size))]
    assert b"".join(out) == STREAM


async def test_an_endless_event_is_refused() -> None:
    with pytest.raises(sse.EventTooLargeError, match="more than 1000 bytes"):
        async for _ in sse.group_events(pieces(b"data: " + b"x" * 5000, 100), max_bytes=1000):
            pass


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 100, 999, 1000, 1001, 100_000])
@pytest.mark.parametrize(("length", "taken"), [(1000, True), (1001, False)])
async def test_the_limit_does_not_depend_on_how_an_event_arrives(
    length: int, taken: bool, size: int, line_end: bytes
) -> None:
    large = b"data: " + b"x" * (length - 6 - 2 * len(line_end)) + line_end * 2
    small = b"data: 1" + line_end * 2
    out = b""
    try:
        async for events in sse.group_events(pieces(small + large + small, size), max_bytes=1000):
            out += events
    except sse.EventTooLargeError:
        assert not taken
    expected = small + large + small if taken else small  # what came before it is not lost
    assert out == (expected.replace(b"\r", b"\n") if line_end == b"\r" else expected)


async def test_an_event_in_many_pieces_is_scanned_once() -> None:
    """2 MB in 32-byte pieces: looked through from its start each time, it would take an hour."""
    large = b'data: "' + b"x" * 2_000_000 + b'"\n\n'
    async with asyncio.timeout(20):
        assert [events async for events in sse.group_events(pieces(large, 32))] == [large]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("done", [b"data: [DONE]", b"data:[DONE]", b"id: 9\ndata: [DONE]", b"\xef\xbb\xbfdata: [DONE]"])
def test_the_terminal_event_is_found_in_any_spelling(done: bytes, line_end: bytes) -> None:
    before = b"" if done.startswith(b"\xef") else CHUNK + b"\n\n"
    events = before + done + b"\n\n"
    garbage = b": ping\n\ndata: garbage\n\n"
    found = sse.done_end((events + garbage).replace(b"\n", line_end))
    assert found == len(events.replace(b"\n", line_end))


@pytest.mark.parametrize("text", ["[DONE]", "\ndata: [DONE]\n\n"])
def test_a_text_that_quotes_the_terminal_event_is_none(text: str) -> None:
    quoting = json.dumps({"choices": [{"delta": {"content": text}}]}).encode()
    assert sse.done_end(b"data: " + quoting + b"\n\n: data: [DONE]\n\n") is None


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_chunks_are_counted_and_comments_and_texts_are_not(line_end: bytes) -> None:
    tricky = json.dumps({"choices": [{"delta": {"content": "\ndata: no chunk"}}]}).encode()
    events = b"\n\n".join([CHUNK, b": data: a comment", b"event: x\ndata:" + tricky, b"data: [DONE]"]) + b"\n\n"
    assert sse.count_events(events.replace(b"\n", line_end)) == 3
