"""Clients that disconnect with pipelined requests, and clients that do not read."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

import server.http.protocol
import server.relay.chat
from server.http.protocol import MAX_HEAD_BYTES
from server.relay.connections import DeferredConnection
from tests.server.harness import CHUNK, Stage, stage
from tests.server.sockets import Protocol, Sockets, sockets


@pytest.fixture
async def scene() -> AsyncIterator[Stage]:
    async with stage() as one:
        one.store.free.set()
        yield one


async def everything(connection: socket.socket) -> bytes:
    """What still comes, until the other side ends; a reset ends it, too."""
    loop, answer = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        try:
            while data := await loop.sock_recv(connection, 65536):
                answer += data
        except ConnectionResetError:
            pass
    return answer


async def ended(served: Sockets) -> str:
    async with asyncio.timeout(10):
        return await served.ended.get()


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_disconnect_with_pipelined_requests_closes_the_upstream(scene: Stage, at_once: bool) -> None:
    async with sockets(scene) as served:
        connection = await served.ask("first", *(["second", "third"] if at_once else []))
        upstream = await scene.upstream.asked()
        if not at_once:
            connection.send(b"GET /chat/second HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.close()
        async with asyncio.timeout(10):
            await upstream.left.wait()
        assert await ended(served) == "first"
        assert len(scene.upstream.connections) == 1  # those behind it were never begun
    assert scene.worker.delivery.live == 0


async def test_a_disconnect_aborts_the_upstream_within_three_loop_iterations(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns and not milliseconds: nothing is waited for between the hang-up and the upstream's cut."""
    loop, events = asyncio.get_running_loop(), list[str]()
    lost, cut = Protocol.connection_lost, DeferredConnection.abort

    def turn() -> None:
        events.append("turn")
        if "cut" not in events:
            loop.call_soon(turn)

    def connection_lost(self: Protocol, exc: Exception | None) -> None:
        loop.call_soon(turn)
        lost(self, exc)

    def note(self: DeferredConnection) -> None:
        events.append("cut")
        cut(self)

    monkeypatch.setattr(Protocol, "connection_lost", connection_lost)
    monkeypatch.setattr(DeferredConnection, "abort", note)
    async with sockets(scene) as served:
        connection = await served.ask("first")
        upstream = await scene.upstream.asked()
        connection.close()
        async with asyncio.timeout(10):
            await upstream.left.wait()
        assert await ended(served) == "first"
    assert events.index("cut") <= 3


async def test_requests_behind_a_chat_are_answered_in_their_turn(scene: Stage) -> None:
    async with sockets(scene) as served:
        connection = await served.ask("first", "second")
        upstream = await scene.upstream.asked()
        upstream.asked.clear()
        upstream.answer(CHUNK)
        upstream.end()
        assert await ended(served) == "first"
        upstream = await scene.upstream.asked()
        upstream.answer(CHUNK)
        upstream.end()
        assert await ended(served) == "second"
        connection.shutdown(socket.SHUT_WR)
        answer = await everything(connection)
        connection.close()
    assert (answer.count(b"HTTP/1.1 200 "), answer.count(b"[DONE]")) == (2, 2)


async def test_what_is_sent_behind_a_chat_is_bounded(scene: Stage) -> None:
    async with sockets(scene) as served:
        connection = await served.ask("first", *("behind-it" for _ in range(MAX_HEAD_BYTES // 30)))
        assert await ended(served) == "first"
        connection.close()


async def blocked(scene: Stage, served: Sockets, kind: str = "chat") -> socket.socket:
    """A chat whose client has stopped to read, so that the relay waits to send."""
    connection = await served.ask("first", kind=kind, receive_bytes=4096)
    upstream = await scene.upstream.asked()
    upstream.answer(*[CHUNK] * 40_000)
    async with asyncio.timeout(10):
        await served.paused.wait()
    return connection


async def test_an_abort_ends_a_chat_whose_client_does_not_read(
    scene: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.relay.chat, "FINAL_SEND_S", 0.05)
    async with sockets(scene) as served:
        connection = await blocked(scene, served)
        async with asyncio.timeout(10):
            assert await scene.worker.delivery.abort("first", "me", wait_s=5) == "stopped"
            await scene.upstream.connections[0].left.wait()
        assert await ended(served) == "first"
        assert not scene.worker.chats  # its owner may start another
        assert b"[DONE]" not in await everything(connection)
        connection.close()
    assert not caplog.records  # its connection was broken off, and uvicorn left with nothing to complain of


async def test_a_client_that_reads_nothing_for_long_has_left(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.http.protocol, "WRITE_STALL_S", 0.05)
    async with sockets(scene) as served:
        connection = await blocked(scene, served)
        async with asyncio.timeout(10):
            await scene.upstream.connections[0].left.wait()
        assert await ended(served) == "first"
        connection.close()
    assert scene.worker.delivery.live == 0


async def test_a_client_that_catches_up_stays(scene: Stage) -> None:
    async with sockets(scene) as served:
        connection = await blocked(scene, served)
        (protocol,) = served.connections
        timer = protocol._write_stall
        assert timer is not None
        scene.upstream.connections[0].end()
        await everything_until(connection, b"[DONE]\n\n\r\n0\r\n\r\n")
        assert timer.cancelled()
        connection.close()


async def test_a_slow_client_still_reads_its_end(scene: Stage) -> None:
    async with sockets(scene) as served:
        connection = await blocked(scene, served)
        assert await scene.worker.delivery.abort("first", "me", wait_s=5) == "stopped"
        answer = await everything_until(connection, b"[DONE]\n\n\r\n0\r\n\r\n")
        # What had been read of the upstream, and waited to be sent when the abort came, was not delivered.
        assert b'"delivered_chunks":%d}' % answer.count(b'"content":"hi"') in answer
        connection.close()
        assert await ended(served) == "first"


async def everything_until(connection: socket.socket, end: bytes) -> bytes:
    loop, answer = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        while not answer.endswith(end):
            answer += await loop.sock_recv(connection, 65536)
    return answer


@pytest.mark.parametrize("malformed", [False, True])
async def test_a_text_that_is_not_complete_does_not_look_so(scene: Stage, malformed: bool) -> None:
    async with sockets(scene) as served:
        connection = await served.ask("first", kind="text")
        upstream = await scene.upstream.asked()
        if malformed:
            upstream.answer(CHUNK)
            assert b"hi" in await everything_until(connection, b"2\r\nhi\r\n")
            upstream.transport.write(b'1a\r\ndata: {"choices":[null]}\n\n\r\n')
            answer = await everything(connection)
        else:
            upstream.answer(CHUNK)
            upstream.break_off()
            answer = await everything(connection)
            assert answer.endswith(b"2\r\nhi\r\n")
        connection.close()
        assert not answer.endswith(b"0\r\n\r\n")
        assert await ended(served) == "first"
