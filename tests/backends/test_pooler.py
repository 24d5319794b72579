"""PostgreSQL behind a real PgBouncer: what works through it, and what is refused at start."""

import asyncio
import re
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

import pytest

import backends
from backends import AbortOutcome, BackendError, BackendUrlError, Delivery, StoreRefusedError, StoreUnavailableError
from backends.postgres.url import parse_addresses
from bench.system.embedded import EmbeddedServer, free_port
from tests.backends.failover import sql
from tests.backends.fault_load import DELIVERIES, load_during
from tests.backends.pgbouncer import needs_pgbouncer, pgbouncer
from tests.backends.servers import BreakableServers
from tests.conftest import namespace

STOPPED_S = 5.0
REFUSED_S = 1.0
OUTAGE_S = 0.3


@pytest.fixture(scope="module")
def database(servers: BreakableServers) -> EmbeddedServer:
    return servers.embedded("postgres")


@pytest.fixture(scope="module")
def pooler(database: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """In transaction mode."""
    with pgbouncer(database.url, "transaction") as pooler:
        yield pooler


@asynccontextmanager
async def workers(url: str, delivery: str) -> AsyncIterator[tuple[Delivery, Delivery]]:
    options = backends.Options(namespace=namespace("pooler"), interval_ms=20.0)
    url = url.replace("://", f"+{delivery}://", 1)
    async with backends.from_url(url, options) as owner, backends.from_url(url, options) as other:
        yield owner, other


async def assert_aborts_work(owner: Delivery, other: Delivery) -> None:
    async with owner.watch("chat", "me") as signal, asyncio.timeout(STOPPED_S):
        assert await other.abort("chat", "me") is AbortOutcome.ACCEPTED
        while not signal.aborted and not (signal.poll is not None and await signal.poll()):  # noqa: ASYNC110 - poll has no event
            await asyncio.sleep(0.01)
    assert owner.counters.recovered_aborts == 0


@needs_pgbouncer
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_each_delivery_works_through_a_transaction_pooler(
    database: EmbeddedServer, pooler: EmbeddedServer, delivery: str
) -> None:
    async with workers(f"{pooler.url}?listen={database.url}", delivery) as (owner, other):
        await assert_aborts_work(owner, other)
        # More statements at once than the pooler has sessions.
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(other.abort(f"unknown-{number}", "me")) for number in range(100)]
        assert {each.result() for each in asked} == {AbortOutcome.REMEMBERED}


@needs_pgbouncer
async def test_listen_through_a_transaction_pooler_is_refused_with_the_fix(
    database: EmbeddedServer, pooler: EmbeddedServer
) -> None:
    async with workers(pooler.url, "timer") as (_, _):
        pass  # the schema exists
    for url in (pooler.url, f"{database.url}?listen={pooler.url}"):
        started_s = time.monotonic()
        with pytest.raises(
            StoreRefusedError, match=r"transaction pooler.*\?listen=postgres://.*postgres\+timer://"
        ) as no:
            async with workers(url, "push"):
                pytest.fail("the worker started")
        assert "\n" not in str(no.value)
        assert f":{urlsplit(pooler.url).port}" in str(no.value)
        assert time.monotonic() - started_s < REFUSED_S


async def refusal(url: str) -> str:
    """The message of a start that fails, with all its causes."""
    with pytest.raises(BackendError) as failed:
        async with workers(url, "push"):
            pytest.fail("the worker started")
    assert "\n" not in str(failed.value)
    return "".join(traceback.format_exception(failed.value))


@needs_pgbouncer
async def test_a_listener_in_another_database_is_refused(database: EmbeddedServer, pooler: EmbeddedServer) -> None:
    other = f"other_{secrets.token_hex(4)}"
    await sql(database.url, f"CREATE DATABASE {other}")
    for commands in (pooler.url, database.url):
        message = await refusal(f"{commands}?listen={urlsplit(database.url)._replace(path=other).geturl()}")
        assert f"LISTEN receives nothing from 127.0.0.1:{urlsplit(commands).port}: the option listen" in message


@needs_pgbouncer
@pytest.mark.parametrize("fault", ["wrong password", "no server", "unknown parameter"])
async def test_the_login_of_a_listener_that_cannot_connect_stays_out_of_messages(
    database: EmbeddedServer, pooler: EmbeddedServer, fault: str
) -> None:
    port = free_port() if fault == "no server" else urlsplit(database.url).port
    listen = f"postgres://bench:hid%64en-secret@127.0.0.1:{port}/postgres"
    message = await refusal(f"{pooler.url}?listen={listen}{'?nope=1' if fault == 'unknown parameter' else ''}")
    assert f"PostgreSQL at 127.0.0.1:{port}: " in message
    assert not re.search("hid|secret", message)


@needs_pgbouncer
async def test_push_works_through_a_session_pooler(database: EmbeddedServer) -> None:
    with pgbouncer(database.url, "session", sessions=30) as pooler:
        async with workers(pooler.url, "push") as (owner, other):
            await assert_aborts_work(owner, other)


@needs_pgbouncer
async def test_no_accepted_abort_is_lost_when_the_pooler_restarts(
    database: EmbeddedServer, pooler: EmbeddedServer, record_property: Callable[[str, object], None]
) -> None:
    """The owners use the pooler, the stopper the server itself."""

    async def restart() -> None:
        pooler.kill()
        await asyncio.sleep(OUTAGE_S)
        await asyncio.to_thread(pooler.start)

    async with load_during(restart, "postgres", f"{pooler.url}?listen={database.url}", database.url) as found:
        for delivery, load in found.loads.items():
            record_property(f"pooler restarted   {delivery:5}", load.row())


@needs_pgbouncer
async def test_a_server_that_is_down_behind_the_pooler_is_no_error_of_the_url(database: EmbeddedServer) -> None:
    with pgbouncer(database.url, "transaction") as pooler:
        await asyncio.to_thread(database.stop)
        try:
            with pytest.raises(StoreUnavailableError):
                async with workers(pooler.url, "timer"):
                    pytest.fail("the worker started")
        finally:
            await asyncio.to_thread(database.start)


@needs_pgbouncer
async def test_a_login_of_the_pooler_that_the_server_refuses_is_no_error_of_the_url(database: EmbeddedServer) -> None:
    """The pooler reports it as a protocol violation, like an unsupported parameter."""
    wrong = re.sub(":[^:]*@", ":wrong@", database.url)
    with (
        pgbouncer(wrong, "transaction") as pooler,
        pytest.raises(StoreUnavailableError, match="password authentication failed"),
    ):
        async with workers(pooler.url, "timer"):
            pytest.fail("the worker started")


@pytest.mark.parametrize("encoded", [False, True])
def test_the_listener_has_an_address_of_its_own(encoded: bool) -> None:
    direct = "postgres://me:secret@db:5432/chats?sslmode=require"
    value = quote(direct, safe="") if encoded else direct
    after = "&application_name=x" if encoded else ""
    commands, listen = parse_addresses(f"postgres://me:secret@pool:6432/chats?sslmode=disable&listen={value}{after}", 2)
    assert listen is not None
    assert (commands.hosts, listen.hosts) == ("pool:6432", "db:5432")
    assert commands.dsns[0].endswith("?target_session_attrs=read-write&sslmode=disable")
    assert commands.settings == ({"application_name": "x"} if encoded else {})
    assert listen.dsns[0].endswith("/chats?target_session_attrs=read-write&sslmode=require")
    assert "secret" not in repr((commands, listen))


@pytest.mark.parametrize("value", ["", "db:5432", "redis://me:secret@db", "postgres://me:se/cret@db:5432/chats"])
def test_a_wrong_address_for_the_listener_is_refused_without_its_secret(value: str) -> None:
    with pytest.raises(BackendUrlError) as refused:
        backends.from_url(f"postgres+push://me@pool:6432/chats?listen={value}")
    assert "cret" not in str(refused.value)
