"""A silent upstream, on every path: headers, comments, errors and stops."""

import asyncio
import json

import pytest

from backends import AbortOutcome
from server.sse import DONE
from tests.server.chat_run import (
    ERROR,
    EVENTS,
    STOP,
    STREAMED,
    answered,
    begin,
    error_event,
    left,
    started,
)
from tests.server.harness import CHUNK, framed, stage


@pytest.mark.parametrize("kind", STREAMED)
async def test_the_headers_do_not_wait_for_a_silent_upstream(kind: str) -> None:
    async with stage(headers_grace_s=0.01) as scene:
        run, upstream = await started(scene, kind)
        assert (run.client.status, run.client.headers["x-request-id"]) == (200, "chat-1")
        upstream.answer(CHUNK, STOP)
        upstream.end()
        await run.over()
        assert run.client.body == run.text_or(b"hi", CHUNK + STOP + DONE)


@pytest.mark.parametrize("kind", STREAMED)
async def test_an_error_after_the_headers_is_an_event(kind: str) -> None:
    async with stage(headers_grace_s=0.01) as scene:
        run, upstream = await started(scene, kind)
        body = json.dumps({"error": ERROR}).encode()
        upstream.transport.write(b"HTTP/1.1 429 No\r\nContent-Type: application/json\r\n")
        upstream.transport.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await run.over()
        assert (run.reason, run.broken) == ("error", kind == "text")
        assert run.client.body == run.text_or(b"", error_event(ERROR) + DONE)


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
