"""A streaming pair of PostgreSQL: the standby is promoted during live streams and aborts."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import backends
from backends import AbortOutcome, Delivery, StoreRefusedError, StoreUnavailableError
from bench.system.embedded import EmbeddedServer, unprivileged
from bench.system.servers import postgres_server
from tests.backends.failover import abort_until_signalled, port_of, sql, standby_of
from tests.backends.fault_load import DELIVERIES, OPTIONS, load_during
from tests.backends.pgbouncer import needs_pgbouncer, pgbouncer
from tests.backends.proxy import proxy_to
from tests.conftest import namespace

ABORTS_OVER_S = 2.0
AFTER_SERVER_S = 6.0  # until the workers' commands work again; most of it on a busy machine
DEADLINE_S = 15.0
Pair = tuple[EmbeddedServer, EmbeddedServer]


def url_of(pair: Pair) -> str:
    """Names both hosts; the first one is the primary of the beginning."""
    primary, standby = map(port_of, pair)
    return pair[0].url.replace(f":{primary}/", f":{primary},127.0.0.1:{standby}/")


def data_of(server: EmbeddedServer) -> Path:
    """The server's data folder."""
    return Path(server.command[server.command.index("-D") + 1])


def copy(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    subprocess.run(["cp", "-a", source, target], check=True)  # with the owner, which is another user


@pytest.fixture(scope="module")
def fresh_pair() -> Iterator[Pair]:
    """A pair that was set up once and is stopped; beside each data folder there is a copy of it."""
    with postgres_server() as primary, standby_of(primary) as standby:
        for server in (primary, standby):
            server.stop()
            copy(data_of(server), data_of(server).with_name("fresh"))
        yield primary, standby


def end(server: EmbeddedServer) -> None:
    """Stop it at once, also one that is frozen; its processes are then reaped by their parent."""
    if server.process.poll() is None:
        parent = psutil.Process(server.process.pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # one that ends with its connection
                process.resume()
        parent.send_signal(signal.SIGQUIT)
    server.stop()


@pytest.fixture
def pair(fresh_pair: Pair) -> Iterator[Pair]:
    """A running pair, as it was set up."""
    for server in fresh_pair:
        copy(data_of(server).with_name("fresh"), data_of(server))
    primary, standby = map(replace, fresh_pair)
    with ExitStack() as stack:
        for server in (primary, standby):
            stack.callback(end, server)
            server.start()
        yield primary, standby


async def crash(primary: EmbeddedServer) -> None:
    primary.process.send_signal(signal.SIGQUIT)  # like `pg_ctl stop -m immediate`
    await asyncio.to_thread(primary.process.wait)


async def plan(primary: EmbeddedServer) -> None:
    """A fast shutdown: the standby receives everything before the primary ends."""
    await asyncio.to_thread(primary.stop)


async def freeze(primary: EmbeddedServer) -> None:
    parent = psutil.Process(primary.process.pid)
    for process in (parent, *parent.children(recursive=True)):  # a process per connection
        process.suspend()


@pytest.mark.parametrize("fault", [crash, freeze, plan], ids=["crash", "freeze", "plan"])
async def test_no_accepted_abort_is_lost_when_the_standby_is_promoted(
    pair: Pair,
    fault: Callable[[EmbeddedServer], Awaitable[None]],
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The URL names both. The table of flags is unlogged, so that the new primary begins with an empty one."""
    primary, standby = pair
    url = url_of(pair)
    default_s = backends.Options().command_timeout_s
    monkeypatch.setattr("tests.backends.fault_load.OPTIONS", replace(OPTIONS, command_timeout_s=default_s))

    async def inject() -> None:
        await fault(primary)
        assert await sql(standby.url, "SELECT pg_promote()")

    async with load_during(inject, "postgres", url, url, ABORTS_OVER_S) as found:
        failover_s = found.over_s - found.fault_s
        for delivery, load in found.loads.items():
            pause_s = load.longest_pause_s(found.fault_s)
            row = f"{load.row()}, no accepts for {pause_s:.2f} s (failover {failover_s:.2f} s)"
            record_property(f"promoted {fault.__name__:9} {delivery:5}", row)
            assert pause_s < failover_s + AFTER_SERVER_S


def rejoin(old: EmbeddedServer, new: EmbeddedServer) -> None:
    """Start the old primary again, as a standby of the new one."""
    (signal_file := data_of(old) / "standby.signal").touch()
    unprivileged().chown(signal_file)
    old.command = [*old.command, "-c", f"primary_conninfo={new.url}"]
    old.start()


async def refused_abort(other: Delivery) -> str:
    """The message of an abort that the store does not take."""
    with pytest.raises(StoreUnavailableError) as failed:
        await other.abort("unknown", "me")
    return str(failed.value)


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_primary_that_comes_back_as_a_standby_is_passed_over(pair: Pair, delivery: str) -> None:
    primary, standby = pair
    url = url_of(pair).replace("://", f"+{delivery}://")
    options = backends.Options(namespace=namespace("rejoined"), interval_ms=20.0, command_timeout_s=1.0)
    async with backends.from_url(url, options) as other:
        await plan(primary)
        assert await sql(standby.url, "SELECT pg_promote()")
        await asyncio.to_thread(rejoin, primary, standby)
        assert await sql(primary.url, "SELECT pg_is_in_recovery()")
        async with backends.from_url(url, options) as owner, owner.watch("long", "me") as signal:
            async with asyncio.timeout(DEADLINE_S):
                await abort_until_signalled(other, signal)


async def test_a_busy_primary_before_a_standby_is_given_more_time(pair: Pair) -> None:
    """It answers after 1.2 s; the first limit for one of several hosts is 1 s."""
    primary = port_of(pair[0])
    async with proxy_to("127.0.0.1", primary) as proxy:

        def accept_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asyncio.get_running_loop().call_later(1.2, proxy.accept, reader, writer)

        async with await asyncio.start_server(accept_late, "127.0.0.1", 0) as busy:
            url = url_of(pair).replace(f":{primary},", f":{busy.sockets[0].getsockname()[1]},")
            options = backends.Options(namespace=namespace("busy"), command_timeout_s=4.0)
            async with backends.from_url(url.replace("://", "+timer://"), options) as worker:
                assert await worker.abort("unknown", "me") is AbortOutcome.REMEMBERED


async def test_a_primary_that_is_down_before_a_standby_is_unreachable_rather_than_refusing(pair: Pair) -> None:
    await plan(pair[0])
    with pytest.raises(StoreUnavailableError, match="Connect") as failed:
        async with backends.from_url(url_of(pair)):
            pytest.fail("the worker started")
    assert not isinstance(failed.value, StoreRefusedError)


@needs_pgbouncer
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_standby_behind_the_pooler_is_reported_until_it_is_promoted(pair: Pair, delivery: str) -> None:
    """The pooler keeps the workers' connections open while another server answers behind it."""
    primary, standby = pair
    options = backends.Options(namespace=namespace("pooled_pair"), interval_ms=20.0, command_timeout_s=1.0)
    async with proxy_to("127.0.0.1", port_of(primary)) as front:
        with pgbouncer(primary.url.replace(f":{port_of(primary)}/", f":{front.port}/"), "transaction") as pooler:
            url = f"{pooler.url.replace('://', f'+{delivery}://')}?listen={url_of(pair)}"
            async with (
                backends.from_url(url, options) as owner,
                backends.from_url(url, options) as other,
                owner.watch("long", "me") as signal,
            ):
                await plan(primary)
                front.switch(port_of(standby))
                front.cut()
                async with asyncio.timeout(DEADLINE_S):
                    while "takes no writes" not in await refused_abort(other):  # noqa: ASYNC110 - no event
                        await asyncio.sleep(0.02)
                    while owner.ready:  # noqa: ASYNC110 - no event
                        await asyncio.sleep(0.02)
                assert await sql(standby.url, "SELECT pg_promote()")
                async with asyncio.timeout(DEADLINE_S):
                    await abort_until_signalled(other, signal)
                assert await other.abort("long", "me") is AbortOutcome.ALREADY_ABORTED
