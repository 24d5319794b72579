"""The upstream's connection is made while the chat is registered, carries nothing before, and ends with the signal."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

import server.relay.chat
from backends import AbortOutcome, DuplicateChatError, StoreUnavailableError
from server.relay.connections import DeferredConnection
from server.relay.upstream import open_stream
from server.relay.upstream_errors import UpstreamError
from tests.server.harness import CHUNK, Client, Connection, Stage, stage
from tests.server.service import chunks, question
from tests.server.test_upstream import BODY


async def one_chat(scene: Stage, connection: Connection, request_id: str) -> None:
    """A chat to its end, on this connection and no other."""
    connection.asked.clear()
    running_chat = asyncio.create_task(scene.chat(client_side := Client(), request_id))
    async with asyncio.timeout(10):
        await connection.asked.wait()
    connection.answer(CHUNK)
    connection.end()
    await running_chat
    assert client_side.body.count(CHUNK) == 1
    assert request_id.encode() in connection.received
    assert scene.upstream.connections == [connection]


@pytest.mark.parametrize(
    ("verdict", "status", "end"),
    [
        (DuplicateChatError("chat-1"), 409, b"is live"),
        (StoreUnavailableError("gone"), 503, b"cannot be reached"),
        (True, 200, b'"finish_reason":"abort"'),  # an abort was waiting
    ],
    ids=["duplicate", "outage", "early-abort"],
)
async def test_a_refused_chat_is_connected_for_and_never_asked(
    verdict: BaseException | bool, status: int, end: bytes
) -> None:
    async with stage() as scene:
        scene.store.verdict = verdict
        running_chat = asyncio.create_task(scene.chat(client_side := Client()))
        async with asyncio.timeout(10):
            await scene.store.asked.wait()
            await scene.upstream.connected.wait()  # while the registration has not been answered
        scene.store.free.set()
        await running_chat
        assert client_side.status == status
        assert end in client_side.body
        # The connection made for it serves the next one, and has carried nothing before.
        (connection,) = scene.upstream.connections
        assert connection.received == b""
        await one_chat(scene, connection, "chat-2")
        assert connection.received.count(b"POST ") == 1


async def test_an_abort_that_waited_stops_a_request_that_nothing_holds_up() -> None:
    """The store answers at once and a connection is free: the request could go out before the relay looks up."""
    async with stage() as scene:
        scene.store.free.set()
        first = asyncio.create_task(scene.chat(Client(), "chat-1"))
        async with asyncio.timeout(10):
            await scene.upstream.connected.wait()
            (connection,) = scene.upstream.connections
            await connection.asked.wait()
        connection.answer(CHUNK)
        connection.end()
        await first
        scene.store.verdict = True
        await scene.chat(client_side := Client(), "chat-2")
        assert b'"finish_reason":"abort"' in client_side.body
        scene.store.verdict = None
        await one_chat(scene, connection, "chat-3")
        assert b"chat-2" not in connection.received


async def test_an_upstream_that_hangs_up_meanwhile_is_connected_to_again() -> None:
    async with stage() as scene:
        running_chat = asyncio.create_task(scene.chat(client_side := Client()))
        async with asyncio.timeout(10):
            await scene.upstream.connected.wait()
            first = scene.upstream.connections[0]
            first.transport.write_eof()
            await first.left.wait()  # the worker has noticed
            scene.upstream.connected.clear()
            scene.store.free.set()
            await scene.upstream.connected.wait()
            second = scene.upstream.connections[1]
            await second.asked.wait()
        second.answer(CHUNK)
        second.end()
        await running_chat
        assert client_side.body.endswith(b"data: [DONE]\n\n")
        assert first.received == b""


@pytest.mark.parametrize(
    ("verdict", "status"), [(DuplicateChatError("chat-1"), 409), (True, 200), (None, 502)], ids=["dup", "early", "good"]
)
async def test_an_upstream_that_fails_meanwhile_is_a_502_only_for_a_chat_that_was_to_be(
    monkeypatch: pytest.MonkeyPatch, verdict: BaseException | bool | None, status: int
) -> None:
    failing = asyncio.Event()

    @asynccontextmanager
    async def fail(*_: object, **__: object) -> AsyncIterator[None]:
        failing.set()
        raise UpstreamError(502, {"message": "away"})
        yield

    monkeypatch.setattr(server.relay.chat, "open_stream", fail)
    async with stage() as scene:
        scene.store.verdict = verdict
        running_chat = asyncio.create_task(scene.chat(client_side := Client()))
        async with asyncio.timeout(10):
            await failing.wait()
        scene.store.free.set()
        await running_chat
        assert client_side.status == status


async def test_abort_closes_the_connection_before_the_loop_continues() -> None:
    """A blocking socket at the upstream's end: nothing of ours runs between the cut and what it reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        async with stage() as scene:
            scene.worker.client.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            line = DeferredConnection()
            line.release()

            async def ask() -> None:
                async with open_stream(scene.worker.client, dict(BODY), "r1", idle_timeout_s=5, connection=line):
                    pass

            asking = asyncio.create_task(ask())
            end, _ = await asyncio.to_thread(listener.accept)
            with end:
                end.settimeout(5)
                assert (await asyncio.to_thread(end.recv, 65536)).startswith(b"POST ")
                line.abort()
                while end.recv(65536):
                    pass
                with pytest.raises(UpstreamError):
                    await asking


async def test_a_returned_connection_is_not_aborted() -> None:
    async with stage() as scene:
        lines = DeferredConnection(), DeferredConnection()
        for line in lines:
            line.release()

        async def ask(line: DeferredConnection) -> bytes:
            async with open_stream(scene.worker.client, dict(BODY), "r1", idle_timeout_s=5, connection=line) as stream:
                return b"".join([data async for data in stream])

        for number, line in enumerate(lines):
            asking = asyncio.create_task(ask(line))
            async with asyncio.timeout(10):
                await scene.upstream.connected.wait()
                (connection,) = scene.upstream.connections
                await connection.asked.wait()
            if number:
                lines[0].abort()
            connection.asked.clear()
            connection.answer(CHUNK)
            connection.end()
            assert (await asking).startswith(CHUNK)


async def test_a_relay_that_reads_the_aborted_connection_first_was_aborted() -> None:
    """Aborted from within its own sending, it reads on before the cancellation comes, from a connection that is cut."""
    async with stage() as scene:
        scene.store.free.set()

        def abort_at_the_chunk(body: bytes) -> None:
            if body == CHUNK:
                scene.worker.delivery.abort_all()

        client_side = Client(abort_at_the_chunk)
        running_chat = asyncio.create_task(scene.chat(client_side))
        async with asyncio.timeout(10):
            await scene.upstream.connected.wait()
            (connection,) = scene.upstream.connections
            await connection.asked.wait()
            connection.answer(CHUNK)
            await connection.left.wait()
        await running_chat
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks(client_side.body.decode())] == [None, "abort"]


@pytest.mark.parametrize("fault", ["an endless event", "a fault of ours"])
async def test_whatever_goes_wrong_the_id_is_free_again(fault: str) -> None:
    def fail(body: bytes) -> None:
        if body == CHUNK and fault == "a fault of ours":
            raise ZeroDivisionError

    async with stage() as scene:
        scene.store.free.set()
        running_chat = asyncio.create_task(scene.chat(client_side := Client(fail)))
        async with asyncio.timeout(10):
            await scene.upstream.connected.wait()
            (connection,) = scene.upstream.connections
            await connection.asked.wait()
            connection.answer(CHUNK, b"data: " + b"x" * scene.worker.settings.max_event_bytes)
            await connection.left.wait()
        if fault == "a fault of ours":
            with pytest.raises(ZeroDivisionError):
                await running_chat
        else:
            await running_chat
            assert b"event: error\n" in client_side.body
            assert client_side.body.endswith(b"data: [DONE]\n\n")
        assert await scene.worker.delivery.abort("chat-1", "me") is AbortOutcome.UNKNOWN


async def test_a_duplicate_is_not_billed(
    service: httpx2.AsyncClient, mock: httpx2.AsyncClient, request_id: str
) -> None:
    body = question("[mock:ttft_ms=60000]", request_id=request_id)
    async with service.stream("POST", "/chat/", json=body) as answer:
        assert (await service.post("/chat/", json=body)).status_code == 409
        stopped = await service.post("/abort/", json={"request_id": request_id, "wait_ms": 5000})
        assert stopped.json()["status"] == AbortOutcome.STOPPED
        await answer.aread()
    rows = (await mock.get("/__mock/journal", params={"id": request_id})).json()["rows"]
    assert [row["outcome"] for row in rows] == ["cut"]
