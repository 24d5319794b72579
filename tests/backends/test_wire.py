"""The shared command connection: each caller gets its own reply or an error, also after cancellations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, ResponseError

import backends
from backends import Options
from backends.redis.wire import HALF_OPEN_AFTER_S, Wire
from tests.backends.proxy import proxy_to
from tests.conftest import namespace

LONG_S = 5.0


@asynccontextmanager
async def opened(url: str, timeout_s: float = LONG_S, on_message: Any = print) -> AsyncIterator[Wire]:
    pool: Any = ConnectionPool.from_url(url, protocol=2)
    wire = await Wire.open(pool.make_connection(), timeout_s, on_message)
    try:
        yield wire
    finally:
        wire.close()


async def test_many_callers_at_once_get_their_own_replies(redis_url: str) -> None:
    async with opened(redis_url) as wire, asyncio.TaskGroup() as tasks:
        pending = {
            word: tasks.create_task(wire.execute(("ECHO", word), ("ECHO", f"{word}!"))) for word in map(str, range(200))
        }
    assert all(each.result() == [word.encode(), f"{word}!".encode()] for word, each in pending.items())


async def test_the_reply_of_a_cancelled_caller_goes_to_no_other(redis_url: str) -> None:
    async with opened(redis_url) as wire:
        cancelled_task = asyncio.create_task(wire.execute(("ECHO", "mine")))
        await asyncio.sleep(0)  # it is sent
        cancelled_task.cancel()
        assert await wire.execute(("ECHO", "yours")) == [b"yours"]
        assert cancelled_task.cancelled()


async def test_an_error_is_raised_only_in_its_caller(redis_url: str) -> None:
    async with opened(redis_url) as wire:
        calls = [wire.execute(("NO-SUCH",)), wire.execute(("EVALSHA", "0" * 40, 0)), wire.execute(("ECHO", "fine"))]
        wrong, unknown, fine = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(wrong, ResponseError)
        assert isinstance(unknown, NoScriptError)
        assert fine == [b"fine"]


async def test_messages_are_not_taken_for_replies(redis_url: str) -> None:
    received: list[Any] = []
    async with opened(redis_url) as wire, opened(redis_url, on_message=received.append) as listener:
        await listener.execute(("SUBSCRIBE", "news"))
        await wire.execute(*(("PUBLISH", "news", str(number)) for number in range(50)))
        assert await listener.execute(("PING",)) == [[b"pong", b""]]
        assert [message[2] for message in received] == [str(number).encode() for number in range(50)]


async def test_a_lost_connection_fails_all_waiting_callers(redis_url: str) -> None:
    async with opened(redis_url) as wire, opened(redis_url) as killer:
        (own,) = await wire.execute(("CLIENT", "ID"))
        waiting = asyncio.create_task(wire.execute(("BLPOP", "nothing", 0)))
        await killer.execute(("CLIENT", "KILL", "ID", own))
        with pytest.raises(LostError):
            await waiting
        await wire.wait_lost()
        with pytest.raises(LostError):
            await wire.execute(("PING",))


async def test_a_half_open_connection_is_closed_by_a_time_out(redis_url: str) -> None:
    address = urlsplit(redis_url)
    async with (
        proxy_to(str(address.hostname), int(address.port or 0)) as proxy,
        opened(redis_url.replace(f":{address.port}/", f":{proxy.port}/")) as wire,
    ):
        proxy.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HALF_OPEN_AFTER_S + 0.05):
                await wire.execute(("PING",))
        assert wire.closed


async def test_a_slow_server_is_not_taken_for_a_half_open_connection(redis_url: str) -> None:
    async with opened(redis_url) as wire:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HALF_OPEN_AFTER_S / 4):
                await wire.execute(("BLPOP", "nothing", str(HALF_OPEN_AFTER_S)))
        assert not wire.closed
        assert await wire.execute(("PING",)) == [b"PONG"]


async def test_a_server_that_is_not_redis_is_disconnected() -> None:
    disconnected = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if b"PING" in data else b"+OK\r\n" * data.count(b"*"))
        writer.close()
        disconnected.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with opened(f"redis://127.0.0.1:{port}/0") as wire:
            with pytest.raises(LostError):
                await wire.execute(("PING",))
            assert wire.closed
        await disconnected.wait()


async def test_a_worker_has_one_command_connection_under_concurrent_calls(redis_url: str) -> None:
    options = Options(namespace=namespace("wire"))
    async with (
        backends.from_url(redis_url.replace("://", "+push://"), options) as worker,
        AsyncExitStack() as chats,
        opened(redis_url) as wire,
    ):
        await asyncio.gather(*(chats.enter_async_context(worker.watch(f"wire-{each}", "me")) for each in range(50)))
        (found,) = await wire.execute(("CLIENT", "LIST"))
        assert [found.count(f"name={options.namespace}-{what} ".encode()) for what in ("commands", "listener")] == [
            1,
            1,
        ]
