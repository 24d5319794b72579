"""Faults of real servers during live streams and aborts: no accepted abort is lost."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

import backends
from backends import deliveries
from bench.system.embedded import EmbeddedServer
from bench.system.stores import COUNTERS
from tests.backends.conftest import empty
from tests.backends.fault_load import DEADLINE_S, DELIVERIES, NAMESPACE, fault_load, load_during
from tests.backends.proxy import Proxy, proxy_to

FREEZE_S = 2.0  # longer than the time-outs


def require_own_process(server: EmbeddedServer) -> None:
    if not server.command:
        pytest.skip("the server process was not started by these tests")


async def redis_command(server: EmbeddedServer, *command: str) -> None:
    async with Redis.from_url(server.url) as client:
        answer = await client.execute_command(*command)  # type: ignore[no-untyped-call]
    assert answer, f"{command} had no effect"  # OK, or the number of killed connections


async def postgres_terminate(server: EmbeddedServer, application: str) -> None:
    connection = await asyncpg.connect(server.url)
    rows = await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", application
    )
    await connection.close()
    assert rows, "there was no connection to terminate"


async def freeze(server: EmbeddedServer) -> None:
    parent = psutil.Process(server.process.pid)
    frozen = [parent, *parent.children(recursive=True)]  # PostgreSQL is a process per connection
    for process in frozen:
        process.suspend()
    await asyncio.sleep(FREEZE_S)  # the fault itself
    for process in frozen:
        process.resume()


async def crash(server: EmbeddedServer) -> None:
    """Kill and restart. Redis and PostgreSQL's unlogged table are empty afterwards."""
    if server.name == "postgres":
        # Like `pg_ctl stop -m immediate`: after SIGKILL a restart may fail on leftover shared memory.
        server.process.send_signal(signal.SIGQUIT)
        await asyncio.to_thread(server.process.wait)
    else:
        server.kill()
    await asyncio.sleep(0.3)  # the outage
    await asyncio.to_thread(server.start)


async def cut(proxy: Proxy) -> None:
    assert proxy.cut() > 0, "there was no connection to cut"


async def freeze_connections(proxy: Proxy) -> None:
    assert proxy.freeze() > 0, "there was no connection to freeze"


Fault = Callable[[EmbeddedServer, Proxy], Awaitable[None]]
FAULTS: dict[str, tuple[str, Fault]] = {
    "kill-pubsub": ("redis", lambda server, _: redis_command(server, "CLIENT", "KILL", "TYPE", "pubsub")),
    "kill-normal": ("redis", lambda server, _: redis_command(server, "CLIENT", "KILL", "TYPE", "normal")),
    "pause": ("redis", lambda server, _: redis_command(server, "CLIENT", "PAUSE", "1500")),
    "terminate-listener": ("postgres", lambda server, _: postgres_terminate(server, f"{NAMESPACE}-listener")),
    "terminate-pool": ("postgres", lambda server, _: postgres_terminate(server, f"{NAMESPACE}-commands")),
    "crash": ("redis postgres nats", lambda server, _: crash(server)),
    "freeze": ("redis postgres nats", lambda server, _: freeze(server)),
    "cut": ("redis postgres nats", lambda _, proxy: cut(proxy)),
    "half-open": ("redis postgres nats", lambda _, proxy: freeze_connections(proxy)),
}


async def records_in(server: EmbeddedServer) -> int:
    """Number of chat records in the store."""
    if server.name == "redis":
        async with Redis.from_url(server.url) as client:
            return len([key async for key in client.scan_iter(f"{NAMESPACE}:{{*}}:*")])
    if server.name == "nats":
        return await asyncio.to_thread(COUNTERS["nats"](server.url).records, NAMESPACE)
    connection = await asyncpg.connect(server.url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {NAMESPACE}.chats_v1 WHERE state <> 'beat'"))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        (store, fault)
        for store in ("redis", "postgres", "nats")
        for fault, (stores, _) in FAULTS.items()
        if store in stores
    ],
    indirect=["server"],
)
async def test_no_accepted_abort_is_lost(
    server: EmbeddedServer, fault: str, record_property: Callable[[str, object], None]
) -> None:
    """All deliveries at once, 50 streams each; the owners use the store through a proxy, the stopper directly."""
    _, inject = FAULTS[fault]
    if fault in ("crash", "freeze"):
        require_own_process(server)
    address = urlsplit(server.url)
    async with proxy_to(str(address.hostname), int(address.port or 0)) as proxy:
        proxy_url = server.url.replace(f":{address.port}/", f":{proxy.port}/")
        async with load_during(partial(inject, server, proxy), server.name, proxy_url, server.url) as found:
            store = COUNTERS[server.name](server.url)
            for delivery, load in found.loads.items():
                record_property(f"{fault:18} {store.name} {store.version} {delivery:5}", load.row())
            store.close()
            async with asyncio.timeout(DEADLINE_S):
                while await records_in(server):  # noqa: ASYNC110 - the store's expiry has no event
                    await asyncio.sleep(0.1)


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("server", ["redis", "postgres", "nats"], indirect=True)
async def test_a_chat_can_start_while_the_store_is_unavailable(server: EmbeddedServer, delivery: str) -> None:
    """With `start_unregistered` it starts, and can be aborted once the store is back."""
    require_own_process(server)
    url = server.url.replace("://", f"+{delivery}://")
    async with backends.from_url(url, backends.Options(start_unregistered=True, command_timeout_s=0.5)) as worker:
        await asyncio.to_thread(server.stop)
        async with worker.watch("started-in-the-outage", "me") as abort_signal:
            with pytest.raises(backends.StoreUnavailableError):
                await worker.abort("started-in-the-outage", "me")
            assert not worker.ready
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(DEADLINE_S):
                while not worker.ready:  # noqa: ASYNC110 - a property of the thing under test
                    await asyncio.sleep(0.01)
            assert await worker.abort("started-in-the-outage", "me") is backends.AbortOutcome.ACCEPTED
            async with asyncio.timeout(DEADLINE_S):
                while not abort_signal.aborted:
                    await asyncio.sleep(0.01)
                    if abort_signal.poll is not None:
                        await abort_signal.poll()


@pytest.mark.parametrize("server", ["redis", "postgres", "nats"], indirect=True)
async def test_a_stopped_store_makes_the_worker_not_ready(server: EmbeddedServer) -> None:
    require_own_process(server)
    async with fault_load(server.name, "push", server.url, server.url) as load:
        worker = load.owners[0]
        assert worker.ready
        await asyncio.to_thread(server.stop)
        async with asyncio.timeout(DEADLINE_S):
            while worker.ready:  # noqa: ASYNC110 - a property of the thing under test
                await asyncio.sleep(0.01)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(DEADLINE_S):
            while not worker.ready:  # noqa: ASYNC110 - a property of the thing under test
                await asyncio.sleep(0.01)
        assert worker.counters.lost > 0
        assert worker.counters.reconnected == 1


@pytest.mark.parametrize("server", ["redis", "postgres"], indirect=True)
async def test_an_abort_sent_while_the_listener_is_down_is_found_by_reading(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No listener receives it, and the next renewal is 20 s away: only reading the flags finds it."""
    monkeypatch.setattr(deliveries, "backoff_s", lambda _failures: 0.5)
    url = server.url.replace("://", "+push://")
    options = backends.Options(namespace=NAMESPACE)
    async with (
        backends.from_url(url, options) as worker,
        backends.from_url(url, options) as other,  # an abort on the owner itself needs no message
        asyncio.timeout(5),
        worker.watch("in-the-gap", "me") as abort_signal,
    ):
        if server.name == "redis":
            await redis_command(server, "CLIENT", "KILL", "TYPE", "pubsub")
        else:
            await postgres_terminate(server, f"{NAMESPACE}-listener")
        while worker.ready:  # noqa: ASYNC110 - a property of the thing under test
            await asyncio.sleep(0.001)
        assert await other.abort("in-the-gap", "me") is backends.AbortOutcome.ACCEPTED
        assert not abort_signal.aborted
        await abort_signal.wait()
    assert worker.counters.recovered_aborts == 1


@pytest.mark.parametrize("server", ["redis", "postgres", "nats"], indirect=True)
async def test_an_accepted_abort_that_the_store_loses_is_recorded_again(server: EmbeddedServer) -> None:
    """Lost with all records before its owner has read it: the worker that accepted it records it again."""
    require_own_process(server)  # deletes all its data
    url = server.url.replace("://", "+poll://")
    options = backends.Options(namespace=NAMESPACE)
    async with (
        backends.from_url(url, options) as owner,
        backends.from_url(url, options) as stopper,
        asyncio.timeout(10),
        owner.watch("forgotten", "me") as abort_signal,
    ):
        assert await stopper.abort("forgotten", "me") is backends.AbortOutcome.ACCEPTED
        if server.name == "redis":
            await redis_command(server, "FLUSHALL")
        elif server.name == "nats":
            await empty(stopper.store)
        else:
            connection = await asyncpg.connect(server.url)
            await connection.execute(f"TRUNCATE {NAMESPACE}.chats_v1")
            await connection.close()
        assert abort_signal.poll is not None
        while not await abort_signal.poll():  # noqa: ASYNC110 - read again and again, as poll does
            await asyncio.sleep(0.01)
        assert stopper.counters.repeated_aborts == 1
