"""What is recorded and sent of a chat: its first text, finish_reason, usage, shutdown."""

import asyncio
import json
from time import monotonic_ns

import pytest
from pydantic import ValidationError

from backends import AbortOutcome
from backends.deliveries import PollDelivery
from server.settings import Settings
from server.sse import DONE
from tests.server.chat_run import (
    ROLE,
    STOP,
    STREAMED,
    answered,
    begin,
    left,
)
from tests.server.harness import CHUNK, Connection, framed, stage


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
async def test_an_upstream_cannot_use_a_finish_reason_of_the_service(said: str) -> None:
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
