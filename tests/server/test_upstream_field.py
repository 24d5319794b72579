"""Upstreams as they are in the field, on every path: held open, cut short, silent, failing inside a 200, or large."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

import pytest
from pydantic import ValidationError

import server.relay.byte_stream
import server.relay.silence
from backends import AbortOutcome
from backends.deliveries import PollDelivery
from server.http.request_guard import ABORT_CONNECTION
from server.relay.chat import ChatResponse
from server.relay.upstream_errors import KEY_REJECTED
from server.settings import Settings
from server.sse import DONE, format_event
from tests.server.harness import CHUNK, Client, Connection, Stage, framed, make_chat, stage

STREAMED = ["chat", "text", "v1"]
EVENTS = ["chat", "v1"]
STOP = format_event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
ROLE = format_event({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
USAGE = format_event({"id": "c", "choices": [], "usage": {"total_tokens": 3}})
WORDS = {"message": "the model is overloaded", "code": 429}


@dataclass
class Run:
    """One chat under way."""

    scene: Stage
    client: Client
    response: ChatResponse
    task: asyncio.Task[None]
    broken: bool = False  # the connection to the client was broken off

    @property
    def reason(self) -> str | None:
        return self.response._trace.finish_reason

    async def over(self) -> None:
        async with asyncio.timeout(10):
            await self.task
        assert self.scene.worker.delivery.live == 0  # the id is free

    def text_or(self, text: bytes, events: bytes) -> bytes:
        return text if self.response._reply.as_text else events


def begin(scene: Stage, kind: str, on_body: Callable[[bytes], object] = lambda _body: None, **body: Any) -> Run:
    scene.store.free.set()
    response, client = make_chat(scene, kind, **body), Client(on_body)
    run: Run

    def abort_connection(_timeout_s: float) -> None:
        run.broken = True

    scope = {"type": "http", ABORT_CONNECTION: abort_connection}
    run = Run(scene, client, response, asyncio.create_task(response(scope, client.receive, client.send)))
    return run


async def answered(scene: Stage, kind: str, *parts: bytes, **body: Any) -> Run:
    """A chat that the upstream answers with these, and then holds its stream open."""
    run = begin(scene, kind, **body)
    (await scene.upstream.asked()).answer(*parts)
    return run


async def left(scene: Stage) -> None:
    async with asyncio.timeout(10):
        await scene.upstream.connections[0].left.wait()


DONES = [DONE, b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]\r\r"]
GARBAGE = [b": ping\n\n", b"data: garbage\n\nevent: error\ndata: x\n\n"]


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize(
    ("done", "behind"),
    [*((done, behind) for done in DONES for behind in [b"", *GARBAGE]), (b"data: [DONE]\n", b"")],
)
async def test_the_terminal_event_ends_the_answer(kind: str, done: bytes, behind: bytes) -> None:
    async with stage() as scene:
        run = await answered(scene, kind, CHUNK + STOP + done + behind)
        await run.over()
        await left(scene)
        assert run.reason == "stop"
        assert not run.broken
        events = run.client.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"data:[", b"data: [")
        assert events == run.text_or(b"hi", CHUNK + STOP + DONE)


@pytest.mark.parametrize("kind", STREAMED)
async def test_pings_behind_the_terminal_event_keep_nothing_alive(kind: str) -> None:
    async with stage() as scene:
        run = await answered(scene, kind, CHUNK, STOP, DONE)
        (upstream,) = scene.upstream.connections

        async def ping() -> None:
            while not upstream.left.is_set():
                upstream.transport.write(framed(b": ping\n\n"))
                await asyncio.sleep(0.001)

        pinging = asyncio.create_task(ping())
        await run.over()
        await left(scene)
        await pinging
        assert run.reason == "stop"


async def test_an_abort_behind_the_terminal_event_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.relay.byte_stream, "TRAILING_READ_S", 60)  # so that it still looks whether the body ends
    async with stage() as scene:
        run = await answered(scene, "chat", CHUNK, STOP, DONE)
        await run.client.receives(DONE)
        assert await scene.worker.delivery.abort("chat-1", "me", wait_s=5) is AbortOutcome.STOPPED
        await run.over()
        assert run.client.body == CHUNK + STOP + DONE
        assert run.reason == "stop"


async def test_a_client_that_leaves_behind_the_terminal_event_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.relay.byte_stream, "TRAILING_READ_S", 60)
    async with stage() as scene:
        run = await answered(scene, "chat", CHUNK, STOP, DONE)
        await run.client.receives(DONE)
        run.client.gone.set()
        await run.over()
        assert run.reason == "stop"


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("trailing", [(), (USAGE,), (b": ping\n\n",)], ids=["nothing", "usage", "a comment"])
async def test_a_finish_reason_ends_an_answer_that_is_held_open(
    monkeypatch: pytest.MonkeyPatch, kind: str, trailing: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(server.relay.silence, "CHECK_INTERVAL_S", 0.05)
    async with stage(headers_grace_s=0.05) as scene:
        run = await answered(scene, kind, CHUNK, STOP, *trailing)
        await run.over()
        await left(scene)
        assert run.client.body == run.text_or(b"hi", CHUNK + STOP + b"".join(trailing) + DONE)
        assert (run.reason, run.broken) == ("stop", False)


async def test_one_of_several_choices_does_not_end_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.relay.silence, "CHECK_INTERVAL_S", 0.01)
    looks = asyncio.Semaphore(0)
    look = server.relay.silence.SilenceMonitor._check

    def counted(self: server.relay.silence.SilenceMonitor) -> None:
        look(self)
        looks.release()

    monkeypatch.setattr(server.relay.silence.SilenceMonitor, "_check", counted)
    async with stage(headers_grace_s=0.01) as scene:
        run = await answered(scene, "chat", STOP, n=2)
        await run.client.receives(STOP)
        async with asyncio.timeout(10):
            for _ in range(5):
                await looks.acquire()
        scene.upstream.connections[0].transport.write(framed(CHUNK))
        scene.upstream.connections[0].end()
        await run.over()
        assert run.client.body == STOP + CHUNK + DONE


@pytest.mark.parametrize("kind", STREAMED)
async def test_a_connection_that_breaks_after_the_finish_reason_has_brought_the_answer(kind: str) -> None:
    async with stage() as scene:
        run = await answered(scene, kind, CHUNK, STOP)
        await run.client.receives(run.text_or(b"hi", STOP))
        scene.upstream.connections[0].transport.abort()
        await run.over()
        assert run.client.body == run.text_or(b"hi", CHUNK + STOP + DONE)
        assert (run.reason, run.broken) == ("stop", False)


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n", b"\r"])
async def test_the_last_event_needs_no_empty_line(kind: str, line_end: bytes) -> None:
    last = format_event({"id": "c", "choices": [{"index": 0, "delta": {"content": " there"}, "finish_reason": "stop"}]})
    async with stage() as scene:
        run = await answered(scene, kind, CHUNK, last.strip() + line_end)
        scene.upstream.connections[0].break_off()
        await run.over()
        assert run.client.body == run.text_or(b"hi there", CHUNK + last + DONE)
        assert (run.reason, run.broken) == ("stop", False)


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("pieces", [1, 500])
async def test_a_large_event_passes(kind: str, pieces: int) -> None:
    text = "x" * 1_500_000
    large = format_event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})
    size = len(large) // pieces + 1
    async with stage() as scene:
        run = await answered(scene, kind, *[large[i : i + size] for i in range(0, len(large), size)], STOP + DONE)
        await run.over()
        assert run.client.body == run.text_or(text.encode(), large + STOP + DONE)
        assert run.reason == "stop"


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_an_event_beyond_the_limit_is_a_clear_error(kind: str, pieces: int) -> None:
    large = b"data: " + b"x" * 5000 + b"\n\n"
    size = len(large) // pieces + 1
    async with stage(max_event_bytes=2000) as scene:
        run = await answered(scene, kind, CHUNK, *[large[i : i + size] for i in range(0, len(large), size)])
        await run.over()
        await left(scene)
        assert run.reason == "error"
        assert run.broken == (kind == "text")
        assert run.client.body.startswith(run.text_or(b"hi", CHUNK))
        if kind != "text":
            assert b"an event of more than 2000 bytes (MAX_EVENT_BYTES)" in run.client.body
            assert run.client.body.endswith(DONE)


@pytest.mark.parametrize("kind", STREAMED)
async def test_the_headers_do_not_wait_for_a_silent_upstream(kind: str) -> None:
    async with stage(headers_grace_s=0.01) as scene:
        run = begin(scene, kind)
        upstream = await scene.upstream.asked()
        async with asyncio.timeout(10):
            await run.client.started.wait()
        assert (run.client.status, run.client.headers["x-request-id"]) == (200, "chat-1")
        upstream.answer(CHUNK, STOP)
        upstream.end()
        await run.over()
        assert run.client.body == run.text_or(b"hi", CHUNK + STOP + DONE)


@pytest.mark.parametrize("kind", STREAMED)
async def test_an_error_after_the_headers_is_an_event(kind: str) -> None:
    async with stage(headers_grace_s=0.01) as scene:
        run = begin(scene, kind)
        upstream = await scene.upstream.asked()
        async with asyncio.timeout(10):
            await run.client.started.wait()
        body = json.dumps({"error": WORDS}).encode()
        upstream.transport.write(b"HTTP/1.1 429 No\r\nContent-Type: application/json\r\n")
        upstream.transport.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await run.over()
        assert (run.reason, run.broken) == ("error", kind == "text")
        assert run.client.body == run.text_or(b"", error_event(WORDS) + DONE)


@pytest.mark.parametrize("kind", [*STREAMED, "whole"])
async def test_an_error_within_the_grace_time_keeps_its_status(kind: str) -> None:
    async with stage(headers_grace_s=60) as scene:
        run = begin(scene, kind)
        upstream = await scene.upstream.asked()
        upstream.transport.abort()
        await run.over()
        assert (run.client.status, run.reason) == (502, "error")
        assert run.client.headers["x-request-id"] == "chat-1"


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("parts", [None, (), (CHUNK,), (CHUNK, CHUNK[:40])], ids=["no head", "head", "chunk", "half"])
async def test_comments_break_every_silence_and_no_event(kind: str, parts: tuple[bytes, ...] | None) -> None:
    async with stage(headers_grace_s=0.01, keepalive_comment_s=0.02) as scene:
        run = begin(scene, kind)
        upstream = await scene.upstream.asked()
        if parts is not None:
            upstream.answer(*parts)
        await run.client.receives(b": keep-alive\n\n: keep-alive\n\n")
        if parts is None:
            upstream.answer()
        upstream.transport.write(framed(CHUNK[40:] if parts and len(parts) > 1 else CHUNK) + framed(STOP))
        upstream.end()
        await run.over()
        chunks = CHUNK * (2 if parts else 1)
        assert run.client.body.replace(b": keep-alive\n\n", b"") == chunks + STOP + DONE


async def test_a_text_has_no_place_for_comments() -> None:
    looked = asyncio.Semaphore(0)
    async with stage(headers_grace_s=0.01, keepalive_comment_s=0.02) as scene:
        run = await answered(scene, "text", CHUNK)
        await run.client.receives(b"hi")
        silence = run.response._silence
        look = silence._check
        silence._check = lambda: (look(), looked.release())  # type: ignore[method-assign,assignment,func-returns-value]
        async with asyncio.timeout(10):
            for _ in range(4):
                await looked.acquire()
        scene.upstream.connections[0].end()
        await run.over()
        assert run.client.body == b"hi"


@pytest.mark.parametrize("kind", [*STREAMED, "whole"])
@pytest.mark.parametrize("grace_s", [0.01, 60], ids=["after the headers", "before the headers"])
async def test_a_stop_works_in_the_silence(kind: str, grace_s: float) -> None:
    async with stage(headers_grace_s=grace_s) as scene:
        run = begin(scene, kind)
        await scene.upstream.asked()
        if grace_s < 1 and kind != "whole":
            async with asyncio.timeout(10):
                await run.client.started.wait()
        assert await scene.worker.delivery.abort("chat-1", "me", wait_s=5) is AbortOutcome.STOPPED
        await left(scene)
        await run.over()
        assert run.reason == "abort"
        assert run.client.status == (499 if kind == "whole" else 200)
        assert (b'"finish_reason":"abort"' in run.client.body) == (kind == "chat")
        assert (b'"finish_reason":"length"' in run.client.body) == (kind == "v1")  # see chunks.NO_TEXT


def error_event(error: dict[str, Any], name: str = "error") -> bytes:
    return format_event({"error": {"code": None, "param": None, "type": "upstream_error"} | error}, name)


def same_error(body: bytes, error: dict[str, Any]) -> bool:
    given = json.loads(body)["error"]
    return {name: given[name] for name in error} == error


FAILURES = [
    format_event({"error": WORDS}, "error"),
    format_event({"error": WORDS}),
    format_event({"error": WORDS}).replace(b"\n", b"\r\n"),
    format_event({"error": WORDS, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
    format_event(WORDS, "error"),
    format_event({"error": WORDS}).strip(),  # without its empty line, at the end
    json.dumps({"error": WORDS}).encode(),  # JSON in place of events
]


@pytest.mark.parametrize("kind", ["chat", "text"])
@pytest.mark.parametrize("failed", FAILURES)
async def test_an_error_as_the_first_event_is_a_status(kind: str, failed: bytes) -> None:
    async with stage() as scene:
        run = await answered(scene, kind, failed)
        scene.upstream.connections[0].break_off()
        await run.over()
        assert (run.client.status, run.reason) == (429, "error")
        assert same_error(run.client.body, WORDS)


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
            assert run.client.body.count(WORDS["message"].encode()) == 1  # type: ignore[attr-defined]
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
        run = await answered(scene, kind, CHUNK, format_event({"error": WORDS}))
        await run.over()
        await left(scene)
        assert (run.reason, run.broken) == ("error", kind == "text")


@pytest.mark.parametrize("kind", ["chat", "whole"])
@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"error": WORDS}, 429, WORDS["message"]),
        ({"error": WORDS | {"code": 503}}, 503, WORDS["message"]),
        ({"error": WORDS | {"code": "overloaded"}}, 502, WORDS["message"]),
        ({"error": WORDS | {"code": 200}}, 502, WORDS["message"]),
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


@pytest.mark.parametrize("kind", STREAMED)
async def test_the_first_text_is_what_counts_as_first(kind: str) -> None:
    async with stage() as scene:
        run = await answered(scene, kind, b": ping\n\n" + ROLE)
        async with asyncio.timeout(10):
            await run.client.started.wait()
        trace, before_ns = run.response._trace, monotonic_ns()
        assert trace.first_byte_ns is not None
        assert trace.first_text_ns is None
        scene.upstream.connections[0].transport.write(framed(CHUNK) + framed(STOP))
        scene.upstream.connections[0].end()
        await run.over()
        assert trace.first_byte_ns < before_ns < (trace.first_text_ns or 0)


@pytest.mark.parametrize("said", ["abort", "shutdown", "refused_409", "disconnect"])
async def test_an_upstreams_word_is_not_taken_for_ours(said: str) -> None:
    async with stage() as scene:
        run = await answered(scene, "chat", CHUNK, STOP.replace(b'"stop"', json.dumps(said).encode()), DONE)
        await run.over()
        assert run.reason == "other"


async def test_an_upstreams_reason_is_bounded() -> None:
    async with stage() as scene:
        run = await answered(scene, "chat", CHUNK, STOP.replace(b'"stop"', b'"' + b"x" * 5000 + b'"'), DONE)
        await run.over()
        assert run.reason == "x" * 64


async def test_a_stopped_v1_stream_gives_usage_of_what_was_delivered() -> None:
    async with stage() as scene:
        run = await answered(scene, "v1", ROLE, CHUNK * 2, stream_options={"include_usage": True})
        await run.client.receives(CHUNK * 2)
        assert await scene.worker.delivery.abort("chat-1", "me", wait_s=5) is AbortOutcome.STOPPED
        await run.over()
        final, usage = (json.loads(part[6:]) for part in run.client.body.split(b"\n\n")[-4:-2])
        assert (final["choices"][0]["finish_reason"], final["aborted"], final["delivered_chunks"]) == ("stop", True, 3)
        assert usage["usage"] == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}
        assert usage["usage_estimated"] is True
        assert run.client.body.endswith(DONE)


def test_the_finish_reason_of_a_stopped_stream_is_one_of_openais() -> None:
    assert Settings(abort_finish_reason="length").abort_finish_reason == "length"
    with pytest.raises(ValidationError):
        Settings(abort_finish_reason="abort")


@pytest.mark.parametrize("kind", [*STREAMED, "whole"])
async def test_a_shutdown_is_no_abort(kind: str) -> None:
    async with stage(headers_grace_s=60, drain_s=0) as scene:
        run = begin(scene, kind)
        upstream: Connection = await scene.upstream.asked()
        if kind != "whole":
            upstream.answer(CHUNK)
            await run.client.receives(b"hi")
        scene.worker.drain()
        await run.over()
        assert (run.reason, run.broken) == ("shutdown", kind == "text")
        assert run.client.status == (503 if kind == "whole" else 200)
        if kind == "whole":
            assert run.client.headers["retry-after"]
        elif kind != "text":
            assert b"server is shutting down" in run.client.body
            assert run.client.body.endswith(DONE)


async def test_a_whole_chat_is_stopped_though_the_flag_is_only_read() -> None:
    async with stage(PollDelivery, abort_interval_ms=20, upstream_idle_s=60) as scene:
        run = begin(scene, "whole")
        await scene.upstream.asked()
        assert await scene.worker.delivery.abort("chat-1", "me", wait_s=5) is AbortOutcome.STOPPED
        await left(scene)
        await run.over()
        assert (run.client.status, run.reason) == (499, "abort")
        assert json.loads(run.client.body)["error"]["code"] == "aborted"
