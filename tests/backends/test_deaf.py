"""A connected listener that receives no messages, as behind a transaction pooler: detected at start and later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

import backends
from backends import AbortOutcome, DeafListenerError
from tests.backends.conftest import Open, until, url_of
from tests.backends.proxy import MESSAGE, Proxy, proxy_to
from tests.conftest import namespace

PUSH = pytest.mark.parametrize("strategy", ["postgres-push", "redis-push", "nats-push"])
OPTIONS = backends.Options(namespace=namespace(), heartbeat_s=0.3, command_timeout_s=0.5)
FOUND_S = 5.0


@asynccontextmanager
async def front(url: str) -> AsyncIterator[tuple[str, Proxy]]:
    """Put a proxy in front of the store; yield its URL."""
    address = urlsplit(url)
    async with proxy_to(str(address.hostname), int(address.port or 0)) as proxy:
        yield url.replace(f":{address.port}/", f":{proxy.port}/"), proxy


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"C\0\0\0\x0bLISTEN\0Z\0\0\0\x05I", b"A\0\0\0\x18\0\0\x01\x02t_abort_1\0" + b"7 chat\0"),
        (b"$2\r\nOK\r\n", b"*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$6\r\n7 chat\r\n"),
        (b"PONG\r\n", b"MSG t.abort.1 1 6\r\n7 chat\r\n"),
    ],
    ids=["postgres", "redis", "nats"],
)
def test_the_proxy_drops_messages_that_follow_a_reply(reply: bytes, message: bytes) -> None:
    """On a busy machine both come in one read; a message that was let through ended a chat without reading flags."""
    assert MESSAGE.sub(b"", reply + message + message + reply) == reply + reply


@PUSH
async def test_a_worker_does_not_start_with_a_deaf_listener(strategy: str, request: pytest.FixtureRequest) -> None:
    async with front(url_of(strategy, request)) as (url, proxy):
        proxy.drops_messages = True
        cause = {"postgres-push": "transaction pooler", "redis-push": "pub/sub", "nats-push": "permissions"}[strategy]
        async with asyncio.timeout(FOUND_S):
            with pytest.raises(DeafListenerError, match=cause):
                async with backends.from_url(url, OPTIONS):
                    pytest.fail("the worker started")


@pytest.mark.parametrize("strategy", ["postgres-poll", "postgres-timer", "redis-poll", "redis-timer", "nats-poll"])
async def test_deliveries_without_a_listener_need_no_messages(strategy: str, request: pytest.FixtureRequest) -> None:
    async with front(url_of(strategy, request)) as (url, proxy):
        proxy.drops_messages = True
        async with backends.from_url(url, OPTIONS) as worker:
            assert worker.ready


@PUSH
async def test_a_listener_that_turns_deaf_is_detected_and_flags_are_read(
    strategy: str, open_worker: Open, request: pytest.FixtureRequest, request_id: str
) -> None:
    async with (
        front(url_of(strategy, request)) as (url, proxy),
        backends.from_url(url, replace(OPTIONS, command_timeout_s=2.0)) as worker,
        open_worker() as other,
    ):
        assert worker.ready
        proxy.drops_messages = True
        await until(lambda: not worker.ready)
        assert worker.counters.deaf == 1
        assert isinstance(worker.last_error, DeafListenerError)
        for number in range(2):  # while it is deaf, flags are read periodically
            async with worker.watch(f"{request_id}-{number}", "me") as signal, asyncio.timeout(1.2):
                assert await other.abort(f"{request_id}-{number}", "me") is AbortOutcome.ACCEPTED
                await signal.wait()
        assert not worker.ready
        proxy.drops_messages = False
        await until(lambda: worker.ready)
        assert worker.counters.deaf == 1
        assert worker.counters.reconnected == 1
        assert worker.counters.recovered_aborts == 2


@PUSH
async def test_an_abort_sent_as_the_listener_turns_deaf_waits_for_one_heartbeat(
    strategy: str, open_worker: Open, request: pytest.FixtureRequest, request_id: str
) -> None:
    """Not for the renewal, which is 20 s away."""
    async with (
        front(url_of(strategy, request)) as (url, proxy),
        backends.from_url(url, OPTIONS) as worker,
        open_worker() as other,
        worker.watch(request_id, "me") as signal,
        asyncio.timeout(FOUND_S),
    ):
        proxy.drops_messages = True
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        await signal.wait()
