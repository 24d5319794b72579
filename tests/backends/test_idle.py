"""Workers without chats, and a real store that stops, hangs, takes no writes or loses its data."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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
from tests.backends.conftest import until
from tests.backends.test_conformance import seen
from tests.backends.test_emptied import streaming
from tests.conftest import namespace

DELIVERIES = ("poll", "timer", "push")
NAMESPACE = namespace("idle")
OPTIONS = backends.Options(namespace=NAMESPACE, heartbeat_s=0.5, command_timeout_s=0.5, interval_ms=20.0)
DEADLINE_S = 15.0
STORES = pytest.mark.parametrize("own_server", ["redis", "postgres"], indirect=True)
REDIS = pytest.mark.parametrize("own_server", ["redis"], indirect=True)


@asynccontextmanager
async def idle(url: str, deliveries: tuple[str, ...] = DELIVERIES, **options: Any) -> AsyncIterator[list[Delivery]]:
    """One ready worker per delivery."""
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
async def test_idle_workers_detect_a_store_that_hangs(own_server: EmbeddedServer) -> None:
    parent = psutil.Process(own_server.process.pid)
    frozen = [parent, *parent.children(recursive=True)]  # PostgreSQL is a process per connection
    async with idle(own_server.url) as workers:
        frozen = [parent, *parent.children(recursive=True)]
        for process in frozen:
            process.suspend()
        try:
            await none_ready(workers)
            assert not any(worker.ready for worker in workers)  # they stay not ready
        finally:
            for process in frozen:
                process.resume()
        await all_ready(workers)


@STORES
async def test_idle_workers_detect_a_store_that_stopped(own_server: EmbeddedServer) -> None:
    async with idle(own_server.url) as workers:
        await asyncio.to_thread(own_server.stop)
        await none_ready(workers)
        assert not any(worker.ready for worker in workers)
        await asyncio.to_thread(own_server.start)
        await all_ready(workers)


@STORES
async def test_idle_workers_detect_a_store_that_takes_no_writes(own_server: EmbeddedServer) -> None:
    """It still answers reads: a replica after a failover, or a read-only database."""
    async with idle(own_server.url) as workers:
        if own_server.name == "redis":
            await redis(own_server.url, "REPLICAOF", "127.0.0.1", 1)
        else:
            await postgres(own_server, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        try:
            await none_ready(workers)
            assert not any(worker.ready for worker in workers)
            # The first error may be another: a push listener can miss its heartbeat before its next write is refused.
            await until(lambda: all("read" in str(worker.last_error).lower() for worker in workers), DEADLINE_S)
        finally:
            if own_server.name == "redis":
                await redis(own_server.url, "REPLICAOF", "NO", "ONE")
            else:
                back = ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only")
                await postgres(own_server, *back, "SELECT pg_reload_conf()")
        await all_ready(workers)


LOSSES: dict[str, tuple[str, Callable[[EmbeddedServer], Awaitable[None]]]] = {
    "FLUSHALL": ("redis", lambda server: redis(server.url, "FLUSHALL")),
    "TRUNCATE": ("postgres", lambda server: postgres(server, f"TRUNCATE {NAMESPACE}.chats_v1")),
    "DROP SCHEMA": ("postgres", lambda server: postgres(server, f"DROP SCHEMA {NAMESPACE} CASCADE")),
}


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize(
    ("own_server", "loss"), [(store, name) for name, (store, _) in LOSSES.items()], indirect=["own_server"]
)
async def test_an_abort_is_accepted_after_the_store_lost_all_records(
    own_server: EmbeddedServer, loss: str, delivery: str
) -> None:
    """The next heartbeat is an hour away: the abort itself detects the loss."""
    async with (
        idle(own_server.url, (delivery, delivery), heartbeat_s=3600.0) as (owner, stopper),
        streaming(owner, "running") as signal,
        streaming(owner, "another") as another,
    ):
        await LOSSES[loss][1](own_server)
        assert await stopper.abort("running", "me") is AbortOutcome.ACCEPTED
        await seen(signal)
        assert await stopper.abort("another", "you") is AbortOutcome.REMEMBERED
        assert not another.aborted
        assert await owner.abort("another", "me") is AbortOutcome.ACCEPTED
        await seen(another)


MISSING_RIGHTS = ("-evalsha -eval", "resetchannels", "resetkeys", "-publish -spublish")
ALL_RIGHTS = ("on", ">x", "~*", "&*", "+@all")


@REDIS
@pytest.mark.parametrize("missing", MISSING_RIGHTS)
async def test_a_worker_does_not_start_without_a_right(own_server: EmbeddedServer, missing: str) -> None:
    """It neither hangs nor reports ready: the server's message is raised within seconds."""
    user = f"start-{MISSING_RIGHTS.index(missing)}"
    await redis(own_server.url, "ACL", "SETUSER", user, *ALL_RIGHTS, *missing.split())
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(backends.StoreUnavailableError, match=r"(?i)noperm|permission"):
            async with idle(own_server.url.replace("://", f"://{user}:x@"), ("push",)):
                pytest.fail("the worker started")


@REDIS
@pytest.mark.parametrize("missing", [*MISSING_RIGHTS, "off"])
async def test_a_right_that_is_revoked_later_makes_the_worker_not_ready(
    own_server: EmbeddedServer, missing: str
) -> None:
    user = f"later-{len(missing)}"
    await redis(own_server.url, "ACL", "SETUSER", user, *ALL_RIGHTS)
    async with idle(own_server.url.replace("://", f"://{user}:x@"), ("push",)) as workers:
        await redis(own_server.url, "ACL", "SETUSER", user, *missing.split())
        if missing == "off":  # applies to new connections only
            await redis(own_server.url, "CLIENT", "KILL", "USER", user)
        await none_ready(workers)
        assert str(workers[0].last_error)
        await redis(own_server.url, "ACL", "SETUSER", user, "on", "~*", "&*", "+@all")
        await all_ready(workers)
