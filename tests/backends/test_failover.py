"""A store that answers but takes no writes is treated as lost: the address is dialled again and reaches the new one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from backends import AbortOutcome, AbortSignal, StoreRefusedError
from backends.delivery import Delivery
from bench.system.embedded import EmbeddedServer
from bench.system.servers import redis_server
from tests.backends.conftest import until
from tests.backends.failover import (
    abort_until_signalled,
    behind_one_address,
    connections_at,
    port_of,
    redis_do,
    sql,
    standby_of,
)
from tests.backends.servers import BreakableServers
from tests.conftest import namespace

DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def valkeys(servers: BreakableServers) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with redis_server() as other:
        yield servers.embedded("redis"), other


async def demote(server: EmbeddedServer, new: EmbeddedServer) -> None:
    await redis_do(server, "REPLICAOF", "127.0.0.1", port_of(new))


async def cut_off(server: EmbeddedServer, _: EmbeddedServer) -> None:
    """Make it a replica without a primary, which answers only MASTERDOWN."""
    await redis_do(server, "CONFIG", "SET", "replica-serve-stale-data", "no")
    await redis_do(server, "REPLICAOF", "127.0.0.1", 1)


async def fill(server: EmbeddedServer, _: EmbeddedServer) -> None:
    await redis_do(server, "CONFIG", "SET", "maxmemory", 1)


async def isolate(server: EmbeddedServer, _: EmbeddedServer) -> None:
    await redis_do(server, "CONFIG", "SET", "min-replicas-to-write", 1)


async def take_rights(server: EmbeddedServer, _: EmbeddedServer) -> None:
    await redis_do(server, "ACL", "SETUSER", "default", "-evalsha", "-eval")


async def fail_to_save(server: EmbeddedServer, _: EmbeddedServer) -> None:
    (server.log.parent / "dump.rdb").mkdir(exist_ok=True)  # a folder in place of the snapshot file
    await redis_do(server, "CONFIG", "SET", "save", "3600 1")
    await redis_do(server, "BGSAVE")
    async with asyncio.timeout(DEADLINE_S):
        while (await redis_do(server, "INFO", "persistence"))["rdb_last_bgsave_status"] != "err":  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


async def heal(server: EmbeddedServer) -> None:
    await redis_do(server, "REPLICAOF", "NO", "ONE")
    for name, value in (
        ("replica-serve-stale-data", "yes"),
        ("maxmemory", "0"),
        ("min-replicas-to-write", "0"),
        ("save", ""),
    ):
        await redis_do(server, "CONFIG", "SET", name, value)
    await redis_do(server, "ACL", "SETUSER", "default", "+@all")
    # A folder of `fail_to_save` blocks a restart, and a file of a replication would be loaded by it.
    snapshot = server.log.parent / "dump.rdb"
    if snapshot.is_dir():
        snapshot.rmdir()
    else:
        snapshot.unlink(missing_ok=True)


FAULTS: dict[str, Callable[[EmbeddedServer, EmbeddedServer], Awaitable[None]]] = {
    "READONLY": demote,
    "MASTERDOWN": cut_off,
    "OOM": fill,
    "NOREPLICAS": isolate,
    "NOPERM": take_rights,
    "MISCONF": fail_to_save,
}


async def assert_aborts_work(
    owner: Delivery, other: Delivery, signal: AbortSignal, new: EmbeddedServer, name: str
) -> None:
    """The owner's connections reach the new server, and an abort accepted by the other worker reaches its chat."""
    kinds = {"commands", "listener"} if owner.name == "push" else {"commands"}
    async with asyncio.timeout(DEADLINE_S):
        while await connections_at(new, namespace(name)) != kinds:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
        await until(lambda: owner.ready)
        await abort_until_signalled(other, signal)
        await until(lambda: owner.ready and other.ready)
        assert await other.abort("long", "me") is AbortOutcome.ALREADY_ABORTED


@pytest.mark.parametrize(
    ("fault", "delivery"), [*((fault, "push") for fault in FAULTS), ("READONLY", "poll"), ("READONLY", "timer")]
)
async def test_a_redis_that_takes_no_writes_is_left_for_the_new_one(
    valkeys: tuple[EmbeddedServer, EmbeddedServer], fault: str, delivery: str
) -> None:
    """It keeps its connections open, like a demoted primary."""
    old, new = valkeys
    name = f"{fault.lower()}_{delivery}"
    try:
        async with (
            behind_one_address(old, name, delivery) as (front, owner, other),
            owner.watch("long", "me") as signal,
        ):
            front.switch(port_of(new))
            await FAULTS[fault](old, new)
            assert await other.abort("no-such-chat", "me") is AbortOutcome.REMEMBERED  # at the first request
            await assert_aborts_work(owner, other, signal, new, name)
    finally:
        await heal(old)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_redis_that_takes_no_writes_is_reported_and_recovers(
    valkeys: tuple[EmbeddedServer, EmbeddedServer], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same server behind the same address: an error with its message, not ready, one log line; then ready again."""
    server, new = valkeys
    name = f"back_{fault.lower()}"
    words = "permissions" if fault == "NOPERM" else fault
    try:
        async with behind_one_address(server, name) as (_, owner, other), owner.watch("long", "me") as signal:
            await FAULTS[fault](server, new)
            with pytest.raises(StoreRefusedError, match=words):
                await owner.store.register(owner._live["long"].chat)
            await until(lambda: not owner.ready)  # its listener was closed and cannot be reopened
            refusals = [each.getMessage() for each in caplog.records if words in each.getMessage()]
            assert len(refusals) == len(set(refusals)) <= 2  # one per worker
            await heal(server)
            await assert_aborts_work(owner, other, signal, server, name)
    finally:
        await heal(server)


async def test_a_listener_is_not_opened_at_a_replica(
    valkeys: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    primary, replica = valkeys
    try:
        async with behind_one_address(primary, "replica") as (front, worker, _):
            await demote(replica, primary)
            front.switch(port_of(replica))
            with pytest.raises(StoreRefusedError, match="READONLY"):
                async with worker.store.listen("anybody", print):
                    pass
    finally:
        await heal(replica)


@pytest.fixture(scope="module")
def postgreses(servers: BreakableServers) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    primary = servers.embedded("postgres")
    with standby_of(primary) as standby:
        yield primary, standby


READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on"
WRITABLE = "ALTER SYSTEM RESET default_transaction_read_only"
RELOAD = "SELECT pg_reload_conf()"


@pytest.mark.parametrize("delivery", ["push", "poll", "timer"])
async def test_a_read_only_postgres_is_reported_and_recovers(
    postgreses: tuple[EmbeddedServer, EmbeddedServer], delivery: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = postgreses
    name = f"read_only_{delivery}"
    async with behind_one_address(server, name, delivery) as (_, owner, other), owner.watch("long", "me") as signal:
        await sql(server.url, READ_ONLY, RELOAD)
        await until(lambda: not owner.ready)
        with pytest.raises(StoreRefusedError, match="takes no writes"):
            await owner.store.register(owner._live["long"].chat)
        assert any("takes no writes" in each.getMessage() for each in caplog.records)
        await sql(server.url, "SET default_transaction_read_only = off", WRITABLE, RELOAD)
        await assert_aborts_work(owner, other, signal, server, name)


async def test_a_promoted_standby_takes_over_from_a_primary_that_keeps_its_connections(
    postgreses: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    old, new = postgreses
    name = "promoted"
    async with behind_one_address(old, name) as (front, owner, other), owner.watch("long", "me") as signal:
        front.switch(port_of(new))
        await sql(old.url, READ_ONLY, RELOAD)
        await until(lambda: not owner.ready)  # the address reaches a standby, which takes no writes
        assert await sql(new.url, "SELECT pg_promote()")
        await assert_aborts_work(owner, other, signal, new, name)
        # And back: the first abort reaches the other server.
        await sql(old.url, "SET default_transaction_read_only = off", WRITABLE, RELOAD)
        front.switch(port_of(old))
        await sql(new.url, READ_ONLY, RELOAD)
        async with asyncio.timeout(DEADLINE_S):
            while not await connections_at(old, namespace(name)):
                assert await other.abort("no-such-chat", "me") is AbortOutcome.REMEMBERED
