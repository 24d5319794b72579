"""What is read out of chat.completion.chunk events, and those that end an aborted answer."""

from typing import Any

import pytest

from server import sse
from server.relay import chunks
from tests.server.test_sse import CHUNK, STREAM


def test_text_of_passes_over_what_carries_none() -> None:
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    assert chunks.text_of(role + usage + b": data: a comment\n\n" + STREAM) == "hihi"


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
    with pytest.raises(chunks.MalformedChunkError):
        chunks.text_of(events)
    assert chunks.finish_reason_of(events) is None


def test_the_reason_is_found_before_a_usage_chunk() -> None:
    final = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    assert chunks.finish_reason_of(CHUNK + b"\n\n" + final + usage + sse.DONE) == "length"


def delta(**fields: Any) -> bytes:
    return sse.format_event({"choices": [{"index": 0, "delta": fields}]})


ROLE = delta(role="assistant", content="", refusal=None)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (delta(content="x"), (0, True)),
        (delta(reasoning_content="x"), (0, True)),
        (delta(tool_calls=[{"index": 0}]), (0, True)),
        (delta(refusal="no"), (0, True)),
        (ROLE, (1, False)),
        (ROLE + b": ping\n\n" + delta(content="x") + delta(content="y"), (1, True)),
        (b": ping\n\n", (0, False)),
        (
            sse.format_event({"choices": []}) + sse.format_event({"choices": [7]}) + b"data: 7\n\n" + sse.DONE,
            (3, False),
        ),
    ],
)
def test_the_first_text_is_neither_a_comment_nor_a_role(events: bytes, found: tuple[int, bool]) -> None:
    assert chunks.events_before_text(events) == found


DOWN = {"message": "down", "code": 400}


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (sse.format_event({"error": DOWN}), DOWN),
        (sse.format_event({"error": "down"}), "down"),
        (sse.format_event({"error": DOWN}, "error"), DOWN),
        (sse.format_event(DOWN, "error"), DOWN),
        (b"event: error\ndata: down\n\n", "down"),
        (b"event:error\r\ndata:down\r\n\r\n", "down"),
        (sse.format_event({"object": "error"} | DOWN), {"object": "error"} | DOWN),
        (sse.format_event({"error": DOWN, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}), DOWN),
    ],
)
def test_an_error_is_found_behind_what_came_before_it(failed: bytes, said: object) -> None:
    assert chunks.first_error(CHUNK + b"\n\n" + failed + sse.DONE) == (CHUNK + b"\n\n", said)


@pytest.mark.parametrize(
    "events",
    [CHUNK + b"\n\n", delta(content='"error": {}'), sse.format_event({"error": None, "choices": []}), b": error\n\n"],
)
def test_a_text_about_errors_is_no_error(events: bytes) -> None:
    assert chunks.first_error(events) is None


def ended(last: bytes = CHUNK + b"\n\n", reason: str = "abort", texts: int = 2, **body: Any) -> list[dict[str, Any]]:
    events = chunks.abort_events(last, {"model": "asked"} | body, "r1", reason=reason, delivered=3, text_chunks=texts)
    return list(chunks.payloads(events))


def test_the_abort_event_continues_the_answer() -> None:
    (chunk,) = ended()
    assert (chunk["id"], chunk["created"], chunk["model"]) == ("c1", 7, "m")
    assert chunk["choices"][0]["finish_reason"] == "abort"
    assert chunk["delivered_chunks"] == 3
    assert "aborted" not in chunk


def test_an_abort_before_the_first_event_still_makes_a_chunk() -> None:
    (chunk,) = ended(b"")
    assert chunk["object"] == "chat.completion.chunk"
    assert (chunk["id"], chunk["model"]) == ("chatcmpl-r1", "asked")


def test_a_finish_reason_of_openai_comes_with_the_field_aborted() -> None:
    (chunk,) = ended(reason="stop")
    assert (chunk["choices"][0]["finish_reason"], chunk["aborted"], chunk["delivered_chunks"]) == ("stop", True, 3)


@pytest.mark.parametrize(
    ("last", "texts", "reason"),
    [
        (b"", 0, "length"),
        (delta(role="assistant"), 0, "length"),
        (delta(reasoning_content="hm"), 2, "length"),
        (delta(reasoning="hm", content=""), 2, "length"),
        (delta(reasoning="hm", content="hi"), 2, "stop"),
        (delta(tool_calls=[{"index": 0}]), 1, "stop"),
        (sse.format_event({"choices": 7}), 2, "stop"),
        (sse.format_event({"choices": [{"delta": "no object"}]}), 2, "stop"),
    ],
)
def test_an_abort_before_the_text_is_an_answer_cut_short(last: bytes, texts: int, reason: str) -> None:
    """After `stop` without a text some clients ask, and pay, again."""
    (chunk,) = ended(last, "stop", texts)
    assert (chunk["choices"][0]["finish_reason"], chunk["aborted"]) == (reason, True)
    (native,) = ended(last, "abort", texts)
    assert native["choices"][0]["finish_reason"] == "abort"


def test_usage_is_that_of_what_was_delivered() -> None:
    _, usage = ended(stream_options={"include_usage": True})
    assert (usage["choices"], usage["usage_estimated"], usage["id"]) == ([], True, "c1")
    assert usage["usage"] == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}


def test_usage_is_the_upstreams_where_it_gives_it_with_each_chunk() -> None:
    figures = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    last = sse.format_event({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": figures})
    _, usage = ended(last, stream_options={"include_usage": True})
    assert usage["usage"] == figures
    assert "usage_estimated" not in usage


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, "yes"])
def test_without_include_usage_there_is_no_usage(options: object) -> None:
    assert len(ended(stream_options=options)) == 1
