"""Errors inside an answer with status 200, on every path."""

import json

import pytest

from server.relay.upstream_errors import KEY_REJECTED
from server.sse import DONE, format_event
from tests.server.chat_run import ERROR, EVENTS, STOP, STREAMED, answered, begin, left, same_error
from tests.server.harness import CHUNK, framed, stage

FAILURES = [
    format_event({"error": ERROR}, "error"),
    format_event({"error": ERROR}),
    format_event({"error": ERROR}).replace(b"\n", b"\r\n"),
    format_event({"error": ERROR, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
    format_event(ERROR, "error"),
    format_event({"error": ERROR}).strip(),  # without its empty line, at the end
    json.dumps({"error": ERROR}).encode(),  # JSON in place of events
]


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("failed", FAILURES)
async def test_an_error_as_the_first_event_is_a_status(kind: str, failed: bytes) -> None:
    async with stage() as scene:
        run = await answered(scene, kind, failed)
        scene.upstream.connections[0].break_off()
        await run.over()
        assert (run.client.status, run.reason) == (429, "error")
        assert same_error(run.client.body, ERROR)


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("failed", FAILURES[:5])
@pytest.mark.parametrize(("together", "finished"), [(True, True), (False, False)])
async def test_an_error_in_mid_stream_reaches_the_client(
    kind: str, failed: bytes, together: bool, finished: bool
) -> None:
    before = CHUNK + STOP if finished else CHUNK
    async with stage() as scene:
        run = await answered(scene, kind, before + failed if together else before)
        if not together:
            await run.client.receives(run.text_or(b"hi", before))
            scene.upstream.connections[0].transport.write(framed(failed))
        scene.upstream.connections[0].end()
        await run.over()
        assert (run.client.status, run.reason, run.broken) == (200, "error", kind == "text")
        assert run.client.body.startswith(run.text_or(b"hi", before))
        if kind != "text":
            assert run.client.body.count(ERROR["message"].encode()) == 1  # type: ignore[attr-defined]
            assert run.client.body.count(b"[DONE]") == 1


@pytest.mark.parametrize("kind", ["chat", "text"])
async def test_an_error_in_a_chunk_of_text_is_relayed_once_and_counted(kind: str) -> None:
    """In a read of its own it looks like any other chunk, and goes the short way."""
    async with stage() as scene:
        run = await answered(scene, kind, CHUNK)
        await run.client.receives(b"hi")
        scene.upstream.connections[0].transport.write(framed(FAILURES[3]))
        if kind == "chat":
            await run.client.receives(FAILURES[3])
            scene.upstream.connections[0].end()
        await run.over()
        assert (run.reason, run.broken) == ("error", kind == "text")
        assert run.client.body == run.text_or(b"hi", CHUNK + FAILURES[3] + DONE)


@pytest.mark.parametrize("kind", STREAMED)
async def test_an_error_ends_an_answer_that_is_held_open(kind: str) -> None:
    async with stage() as scene:
        run = await answered(scene, kind, CHUNK, format_event({"error": ERROR}))
        await run.over()
        await left(scene)
        assert (run.reason, run.broken) == ("error", kind == "text")


@pytest.mark.parametrize("kind", ["chat", "whole"])
@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"error": ERROR}, 429, ERROR["message"]),
        ({"error": ERROR | {"code": 503}}, 503, ERROR["message"]),
        ({"error": ERROR | {"code": "overloaded"}}, 502, ERROR["message"]),
        ({"error": ERROR | {"code": 200}}, 502, ERROR["message"]),
        ({"error": "no such model"}, 502, "no such model"),
        ({"object": "error", "message": "too long", "code": 400}, 400, "too long"),
        ({"error": {"message": "wrong: sk-a-s****", "code": 401}}, 502, KEY_REJECTED["message"]),
        ({"error": {"message": "Incorrect API key provided: x", "code": "y"}}, 502, KEY_REJECTED["message"]),
        ({"error": {"message": "no", "type": "authentication_error"}}, 502, KEY_REJECTED["message"]),
    ],
)
async def test_a_200_with_a_json_error_is_that_error(kind: str, said: object, status: int, words: str) -> None:
    async with stage() as scene:
        run = begin(scene, kind)
        upstream = await scene.upstream.asked()
        body = json.dumps(said).encode()
        upstream.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        upstream.transport.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await run.over()
        assert (run.client.status, run.reason) == (status, "error")
        assert json.loads(run.client.body)["error"]["message"] == words
        assert b"sk-" not in run.client.body


@pytest.mark.parametrize("kind", EVENTS)
async def test_an_error_about_the_key_is_kept_from_the_client(kind: str) -> None:
    async with stage() as scene:
        run = await answered(
            scene, kind, CHUNK, format_event({"error": {"message": "bad key sk-a-secret", "code": 401}})
        )
        await run.over()
        assert b"sk-a" not in run.client.body
        assert KEY_REJECTED["message"].encode() in run.client.body
