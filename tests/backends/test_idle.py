"""Workers on which nobody chats, and a store that goes away, takes no writes or loses everything: real servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

import backends
from backends import AbortOutcome
from backends.delivery import Delivery
from bench.system.embedded import EmbeddedServer
from bench.system.stores import open_store, redis_server
from tests.backends.conftest import until
from tests.backends.test_conformance import seen
from tests.backends.test_emptied import streaming
from tests.conftest import namespace

DELIVERIES = ("poll", "timer", "push")
NAMESPACE = namespace("idle")
OPTIONS = backends.Options(namespace=NAMESPACE, heartbeat_s=0.5, command_timeout_s=0.5, interval_ms=20.0)
DEADLINE_S = 15.0
STORES = pytest.mark.parametrize("server", ["redis", "postgres"], indirect=True)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    with open_store(request.param) as store:
        if store.server is None:
            pytest.skip("this server is not ours to hurt")
        yield store.server


@asynccontextmanager
async def idle(url: str, deliveries: tuple[str, ...] = DELIVERIES, **options: Any) -> AsyncIterator[list[Delivery]]:
    """One worker for each delivery, ready."""
    settings = backends.Options(**(vars(OPTIONS) | options))
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(backends.from_url(url.replace("://", f"+{each}://"), settings))
            for each in deliveries
        ]
        assert all(worker.ready for worker in workers)
        yield workers


async def none_ready(workers: list[Delivery]) -> None:
    for worker in workers:
        await until(lambda each=worker: not each.ready, DEADLINE_S)  # type: ignore[misc]


async def all_ready(workers: list[Delivery]) -> None:
    await until(lambda: all(worker.ready for worker in workers), DEADLINE_S)


async def postgres(server: EmbeddedServer, *statements: str) -> None:
    connection = await asyncpg.connect(server.url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def redis(url: str, *command: str | int) -> None:
    async with Redis.from_url(url) as client:
        assert await client.execute_command(*command)  # type: ignore[no-untyped-call]


@STORES
async def test_a_store_that_does_not_answer_is_noticed_by_idle_workers(server: EmbeddedServer) -> None:
    parent = psutil.Process(server.process.pid)
    frozen = [parent, *parent.children(recursive=True)]  # PostgreSQL is a process per connection
    async with idle(server.url) as workers:
        frozen = [parent, *parent.children(recursive=True)]
        for process in frozen:
            process.suspend()
        try:
            await none_ready(workers)
            assert not any(worker.ready for worker in workers)  # and none of them comes back by itself
        finally:
            for process in frozen:
                process.resume()
        await all_ready(workers)


@STORES
async def test_a_store_that_is_gone_is_noticed_by_idle_workers(server: EmbeddedServer) -> None:
    async with idle(server.url) as workers:
        server.kill() if server.name == "redis" else await asyncio.to_thread(server.stop)
        await none_ready(workers)
        assert not any(worker.ready for worker in workers)
        await asyncio.to_thread(server.start)
        await all_ready(workers)


@STORES
async def test_a_store_that_takes_no_writes_is_noticed_by_idle_workers(server: EmbeddedServer) -> None:
    """It answers every read: a replica after a failover, a database set read-only."""
    async with idle(server.url) as workers:
        if server.name == "redis":
            await redis(server.url, "REPLICAOF", "127.0.0.1", 1)
        else:
            await postgres(server, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        try:
            await none_ready(workers)
            assert not any(worker.ready for worker in workers)
            # The first error may be another: a push listener can miss its heartbeat before its next write is refused.
            await until(lambda: all("read" in str(worker.last_error).lower() for worker in workers), DEADLINE_S)
        finally:
            if server.name == "redis":
                await redis(server.url, "REPLICAOF", "NO", "ONE")
            else:
                back = ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only")
                await postgres(server, *back, "SELECT pg_reload_conf()")
        await all_ready(workers)


LOSSES: dict[str, tuple[str, Callable[[EmbeddedServer], Awaitable[None]]]] = {
    "FLUSHALL": ("redis", lambda server: redis(server.url, "FLUSHALL")),
    "TRUNCATE": ("postgres", lambda server: postgres(server, f"TRUNCATE {NAMESPACE}.chats_v1")),
    "DROP SCHEMA": ("postgres", lambda server: postgres(server, f"DROP SCHEMA {NAMESPACE} CASCADE")),
}


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize(
    ("server", "loss"), [(store, name) for name, (store, _) in LOSSES.items()], indirect=["server"]
)
async def test_a_stop_is_accepted_after_the_store_has_lost_everything(
    server: EmbeddedServer, loss: str, delivery: str
) -> None:
    """The heartbeat is an hour away: the Stop itself finds out."""
    async with (
        idle(server.url, (delivery, delivery), heartbeat_s=3600.0) as (owner, stopper),
        streaming(owner, "running") as signal,
        streaming(owner, "another") as another,
    ):
        await LOSSES[loss][1](server)
        assert await stopper.abort("running", "me") is AbortOutcome.ACCEPTED
        await seen(signal)
        assert await stopper.abort("another", "you") is AbortOutcome.REMEMBERED
        assert not another.aborted
        assert await owner.abort("another", "me") is AbortOutcome.ACCEPTED
        await seen(another)


@pytest.mark.parametrize("lacking", ["-evalsha -eval", "resetchannels", "resetkeys", "-publish -spublish"])
async def test_a_worker_does_not_start_without_a_right(lacking: str) -> None:
    """It neither hangs nor looks ready: the server's own words come within seconds."""
    with redis_server() as server:
        await redis(server.url, "ACL", "SETUSER", "chat", "on", ">x", "~*", "&*", "+@all", *lacking.split())
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(backends.StoreUnavailableError, match=r"(?i)noperm|permission"):
                async with idle(server.url.replace("://", "://chat:x@"), ("push",)):
                    pytest.fail("it has started")


@pytest.mark.parametrize("lacking", ["-evalsha -eval", "resetchannels", "resetkeys", "-publish -spublish", "off"])
async def test_a_right_that_is_taken_away_later_is_noticed(lacking: str) -> None:
    with redis_server() as server:
        await redis(server.url, "ACL", "SETUSER", "chat", "on", ">x", "~*", "&*", "+@all")
        url = server.url.replace("://", "://chat:x@")
        async with idle(url, ("push",)) as workers:
            await redis(server.url, "ACL", "SETUSER", "chat", *lacking.split())
            if lacking == "off":  # concerns new connections only
                await redis(server.url, "CLIENT", "KILL", "USER", "chat")
            await none_ready(workers)
            assert str(workers[0].last_error)
            await redis(server.url, "ACL", "SETUSER", "chat", "on", "~*", "&*", "+@all")
            await all_ready(workers)
