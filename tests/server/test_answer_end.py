"""The end of an answer: the terminal event, a finish_reason, a broken connection; and events that are too large."""

import asyncio

import pytest

import server.relay.byte_stream
import server.relay.silence
from backends import AbortOutcome
from server.sse import DONE, format_event
from tests.server.chat_run import (
    STOP,
    STREAMED,
    USAGE,
    answered,
    left,
)
from tests.server.harness import CHUNK, framed, stage

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
