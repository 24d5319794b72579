"""What breaks in real life, on real servers, while streams are live and aborts arrive: no accepted abort is lost."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

import backends
from backends import deliveries
from bench.system.embedded import EmbeddedServer
from bench.system.stores import COUNTERS, open_store
from tests.backends.proxy import Proxy, proxy_to
from tests.backends.stage import DEADLINE_S, FAULT_AFTER_S, NAMESPACE, stage

DELIVERIES = ("poll", "timer", "push")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server of this module's own: it gets hurt. The parameter comes from the test."""
    with open_store(request.param) as store:
        if store.server is not None:
            yield store.server
            return
        # A container, or a server of somebody's: its connections can be hurt, but it can not be killed or frozen.
        yield EmbeddedServer(request.param, store.url, command=(), log=Path(os.devnull), ready=lambda: None)
        if store.how == "url":
            store.forget(NAMESPACE)


def needs_its_process(server: EmbeddedServer) -> None:
    if not server.command:
        pytest.skip("this server is not ours to stop")


async def redis_command(server: EmbeddedServer, *command: str) -> None:
    async with Redis.from_url(server.url) as client:
        answer = await client.execute_command(*command)  # type: ignore[no-untyped-call]
    assert answer, f"{command} has hurt nothing"  # OK, or the number of connections that were killed


async def postgres_terminate(server: EmbeddedServer, application: str) -> None:
    connection = await asyncpg.connect(server.url)
    rows = await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", application
    )
    await connection.close()
    assert rows, "there was nothing to terminate"


async def freeze(server: EmbeddedServer) -> None:
    parent = psutil.Process(server.process.pid)
    frozen = [parent, *parent.children(recursive=True)]  # PostgreSQL is a process per connection
    for process in frozen:
        process.suspend()
    await asyncio.sleep(3)  # the fault: frozen for three seconds
    for process in frozen:
        process.resume()


async def crash(server: EmbeddedServer) -> None:
    """SIGKILL, and a restart. Redis comes back empty; so does PostgreSQL's unlogged table."""
    if server.name == "postgres":
        # `-m immediate`, and not SIGKILL, which would leave shared memory to a restart's mercy.
        server.process.send_signal(signal.SIGQUIT)
        await asyncio.to_thread(server.process.wait)
    else:
        server.kill()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.start)


async def cut(proxy: Proxy) -> None:
    assert proxy.cut() > 0, "there was nothing to cut"


async def deafen(proxy: Proxy) -> None:
    assert proxy.deafen() > 0, "there was nothing to deafen"


Fault = Callable[[EmbeddedServer, Proxy], Awaitable[None]]
FAULTS: dict[str, tuple[str, Fault]] = {
    "kill-pubsub": ("redis", lambda server, _: redis_command(server, "CLIENT", "KILL", "TYPE", "pubsub")),
    "kill-normal": ("redis", lambda server, _: redis_command(server, "CLIENT", "KILL", "TYPE", "normal")),
    "pause": ("redis", lambda server, _: redis_command(server, "CLIENT", "PAUSE", "2000")),
    "terminate-listener": ("postgres", lambda server, _: postgres_terminate(server, f"{NAMESPACE}-listener")),
    "terminate-pool": ("postgres", lambda server, _: postgres_terminate(server, f"{NAMESPACE}-commands")),
    "crash": ("redis postgres", lambda server, _: crash(server)),
    "freeze": ("redis postgres", lambda server, _: freeze(server)),
    "cut": ("redis postgres", lambda _, proxy: cut(proxy)),
    "half-open": ("redis postgres", lambda _, proxy: deafen(proxy)),
}


async def left_in(server: EmbeddedServer) -> int:
    """How many records of chats the store still holds."""
    if server.name == "redis":
        async with Redis.from_url(server.url) as client:
            return len([key async for key in client.scan_iter(f"{NAMESPACE}:{{*}}:*")])
    connection = await asyncpg.connect(server.url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {NAMESPACE}.chats_v1 WHERE state <> 'beat'"))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("server", "fault"),
    [(store, fault) for store in ("redis", "postgres") for fault, (stores, _) in FAULTS.items() if store in stores],
    indirect=["server"],
)
async def test_no_accepted_abort_is_lost(
    server: EmbeddedServer, fault: str, record_property: Callable[[str, object], None]
) -> None:
    """All deliveries at once: fifty streams each; the owners reach the store through a proxy, the stopper directly."""
    _, inject = FAULTS[fault]
    if fault in ("crash", "freeze"):
        needs_its_process(server)
    address = urlsplit(server.url)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxy_to(str(address.hostname), int(address.port or 0)))
        by_proxy = server.url.replace(f":{address.port}/", f":{proxy.port}/")
        stages = [
            await stack.enter_async_context(stage(server.name, delivery, by_proxy, server.url))
            for delivery in DELIVERIES
        ]
        all_live = asyncio.Barrier(len(stages) + 1)
        async with asyncio.TaskGroup() as tasks:
            for one in stages:
                tasks.create_task(one.play(all_live))
            await all_live.wait()
            await asyncio.sleep(FAULT_AFTER_S)  # the fault falls into the middle of the aborts
            await inject(server, proxy)
        said = COUNTERS[server.name](server.url)  # what the server calls itself
        for one, delivery in zip(stages, DELIVERIES, strict=True):
            record_property(f"{fault:18} {said.name} {said.version} {delivery:5}", one.row())
        said.close()
        async with asyncio.timeout(DEADLINE_S):
            while await left_in(server):  # noqa: ASYNC110 - the store's own expiry, no event of ours
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("server", ["redis", "postgres"], indirect=True)
async def test_a_chat_may_start_without_its_store(server: EmbeddedServer, delivery: str) -> None:
    """The other outage policy: it starts, and can be aborted as soon as the store is back."""
    needs_its_process(server)
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


@pytest.mark.parametrize("server", ["redis", "postgres"], indirect=True)
async def test_readiness_tells_that_the_store_is_gone(server: EmbeddedServer) -> None:
    needs_its_process(server)
    async with stage(server.name, "push", server.url, server.url) as scene:
        worker = scene.owners[0]
        assert worker.ready
        server.kill() if server.name == "redis" else server.stop()
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
async def test_an_abort_in_the_gap_is_found_by_re_reading(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens while it is sent, and the next renewal is twenty seconds away: only re-reading finds it."""
    monkeypatch.setattr(deliveries, "backoff_s", lambda _failures: 0.5)
    url = server.url.replace("://", "+push://")
    options = backends.Options(namespace=NAMESPACE)
    async with (
        backends.from_url(url, options) as worker,
        backends.from_url(url, options) as other,  # the owner itself would need no message
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


@pytest.mark.parametrize("server", ["redis", "postgres"], indirect=True)
async def test_an_accepted_abort_that_the_store_forgets_is_recorded_again(server: EmbeddedServer) -> None:
    """Accepted, then lost with all the store's data before its owner looked: whoever accepted it sees to it."""
    needs_its_process(server)  # everything in it is dropped
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
        else:
            connection = await asyncpg.connect(server.url)
            await connection.execute(f"TRUNCATE {NAMESPACE}.chats_v1")
            await connection.close()
        assert abort_signal.poll is not None
        while not await abort_signal.poll():  # noqa: ASYNC110 - read again and again, as poll does
            await asyncio.sleep(0.01)
        assert stopper.counters.repeated_aborts == 1
