"""A store that answers but takes no writes is a lost store: the address is dialled again and leads to the new one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import asyncpg
import pytest
from redis.exceptions import ResponseError

from backends import AbortOutcome, AbortSignal, StoreRefusedError, StoreUnavailableError
from backends.delivery import Delivery
from backends.postgres.errors import is_refusal as postgres_is_refusal
from backends.redis.errors import is_refusal
from bench.system.embedded import EmbeddedServer
from bench.system.stores import redis_server
from tests.backends.conftest import until
from tests.backends.failover import behind_one_address, connections_at, port_of, postgres_pair, redis_do, sql
from tests.conftest import namespace

DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def valkeys() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with redis_server() as one, redis_server() as other:
        yield one, other


async def demote(server: EmbeddedServer, new: EmbeddedServer) -> None:
    await redis_do(server, "REPLICAOF", "127.0.0.1", port_of(new))


async def cut_off(server: EmbeddedServer, _: EmbeddedServer) -> None:
    """A replica without its primary, which answers nothing but MASTERDOWN."""
    await redis_do(server, "CONFIG", "SET", "replica-serve-stale-data", "no")
    await redis_do(server, "REPLICAOF", "127.0.0.1", 1)


async def fill(server: EmbeddedServer, _: EmbeddedServer) -> None:
    await redis_do(server, "CONFIG", "SET", "maxmemory", 1)


async def isolate(server: EmbeddedServer, _: EmbeddedServer) -> None:
    await redis_do(server, "CONFIG", "SET", "min-replicas-to-write", 1)


async def take_rights(server: EmbeddedServer, _: EmbeddedServer) -> None:
    await redis_do(server, "ACL", "SETUSER", "default", "-evalsha", "-eval")


async def fail_to_save(server: EmbeddedServer, _: EmbeddedServer) -> None:
    (server.log.parent / "dump.rdb").mkdir(exist_ok=True)  # where the snapshot should go
    await redis_do(server, "CONFIG", "SET", "save", "3600 1")
    await redis_do(server, "BGSAVE")
    async with asyncio.timeout(DEADLINE_S):
        while (await redis_do(server, "INFO", "persistence"))["rdb_last_bgsave_status"] != "err":  # noqa: ASYNC110 - not ours
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


FAULTS: dict[str, Callable[[EmbeddedServer, EmbeddedServer], Awaitable[None]]] = {
    "READONLY": demote,
    "MASTERDOWN": cut_off,
    "OOM": fill,
    "NOREPLICAS": isolate,
    "NOPERM": take_rights,
    "MISCONF": fail_to_save,
}


async def goes_on(owner: Delivery, other: Delivery, signal: AbortSignal, new: EmbeddedServer, name: str) -> None:
    """The owner's connections are at the new server, and a Stop that any worker accepts reaches its chat."""
    kinds = {"commands", "listener"} if owner.name == "push" else {"commands"}
    async with asyncio.timeout(DEADLINE_S):
        while await connections_at(new, namespace(name)) != kinds:  # noqa: ASYNC110 - the server's own view
            await asyncio.sleep(0.02)
        await until(lambda: owner.ready)
        while not signal.aborted:
            with suppress(StoreUnavailableError):  # the service's 503: press again
                await other.abort("long", "me")
            if signal.poll is not None:
                await signal.poll()
            await asyncio.sleep(0.02)
        await until(lambda: owner.ready and other.ready)
        assert await other.abort("long", "me") is AbortOutcome.ALREADY_ABORTED


@pytest.mark.parametrize(
    ("fault", "delivery"), [*((fault, "push") for fault in FAULTS), ("READONLY", "poll"), ("READONLY", "timer")]
)
async def test_a_redis_that_takes_no_writes_is_left_for_the_new_one(
    valkeys: tuple[EmbeddedServer, EmbeddedServer], fault: str, delivery: str
) -> None:
    """It keeps our connections open all the while, as a demoted primary does."""
    old, new = valkeys
    name = f"{fault.lower()}_{delivery}"
    try:
        async with (
            behind_one_address(old, name, delivery) as (front, owner, other),
            owner.watch("long", "me") as signal,
        ):
            front.switch(port_of(new))
            await FAULTS[fault](old, new)
            assert await other.abort("no-such-chat", "me") is AbortOutcome.REMEMBERED  # at the first press
            await goes_on(owner, other, signal, new, name)
    finally:
        await heal(old)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_redis_that_takes_no_writes_is_told_and_comes_back(
    valkeys: tuple[EmbeddedServer, EmbeddedServer], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same server, behind the same address: 503 in its own words, not ready, one line in the log; then well."""
    server, new = valkeys
    name = f"back_{fault.lower()}"
    words = "permissions" if fault == "NOPERM" else fault
    try:
        async with behind_one_address(server, name) as (_, owner, other), owner.watch("long", "me") as signal:
            await FAULTS[fault](server, new)
            with pytest.raises(StoreRefusedError, match=words):
                await owner.store.register(owner._live["long"].chat)
            await until(lambda: not owner.ready)  # its listener was ended, and cannot come back
            refusals = [each.getMessage() for each in caplog.records if words in each.getMessage()]
            assert len(refusals) == len(set(refusals)) <= 2  # each worker's, once
            await heal(server)
            await goes_on(owner, other, signal, server, name)
    finally:
        await heal(server)


async def test_a_listener_is_not_opened_at_a_replica_which_would_accept_it(
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
def postgreses() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with postgres_pair() as pair:
        yield pair


READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on"
WRITABLE = "ALTER SYSTEM RESET default_transaction_read_only"
RELOAD = "SELECT pg_reload_conf()"


@pytest.mark.parametrize("delivery", ["push", "poll", "timer"])
async def test_a_read_only_postgres_is_told_and_comes_back(
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
        await goes_on(owner, other, signal, server, name)


async def test_a_promoted_standby_takes_over_from_a_primary_that_keeps_its_connections(
    postgreses: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    old, new = postgreses
    name = "promoted"
    async with behind_one_address(old, name) as (front, owner, other), owner.watch("long", "me") as signal:
        front.switch(port_of(new))
        await sql(old.url, READ_ONLY, RELOAD)
        await until(lambda: not owner.ready)  # the address leads to a standby, which takes no writes
        assert await sql(new.url, "SELECT pg_promote()")
        await goes_on(owner, other, signal, new, name)
        # And back, while somebody presses Stop: the first press finds the other server.
        await sql(old.url, "SET default_transaction_read_only = off", WRITABLE, RELOAD)
        front.switch(port_of(old))
        await sql(new.url, READ_ONLY, RELOAD)
        async with asyncio.timeout(DEADLINE_S):
            while not await connections_at(old, namespace(name)):
                assert await other.abort("no-such-chat", "me") is AbortOutcome.REMEMBERED


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("READONLY You can't write against a read only replica.", True),
        ("READONLY You can't write against a read only replica. script: 1f, on @user_script:9.", True),
        ("ERR Error running script (call to f_1f): @user_script:9: -READONLY You can't write", True),
        ("MISCONF Errors writing to the AOF file", True),
        ("LOADING Redis is loading the dataset in memory", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("CLUSTERDOWN The cluster is down", True),
        ("NOREPLICAS Not enough good replicas to write.", True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", True),
        ("MOVED 3999 127.0.0.1:6381", True),
        ("NOPERM User bob has no permissions to run the 'evalsha' command", True),
        ("NOAUTH Authentication required.", True),
        ("ERR ACL failure in script: No permissions to access a channel", True),
        ("NOSCRIPT No matching script.", False),
        ("CROSSSLOT Keys in request don't hash to the same slot", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
    ],
)
def test_which_error_replies_mean_another_server(message: str, refusal: bool) -> None:
    assert is_refusal(ResponseError(message)) is refusal


@pytest.mark.parametrize(
    ("sqlstate", "refusal"),
    [
        *((state, True) for state in ("25006", "42501", "0A000", "53100", "53200", "53300", "58030", "XX001")),
        *((state, True) for state in ("57P01", "57P02", "57P03", "57P04", "57P05")),
        *(
            (state, False)
            for state in ("22021", "23505", "40001", "40P01", "54000", "42P01", "3F000", "55P03", "57014", "08006")
        ),
    ],
)
def test_which_sqlstates_mean_another_server(sqlstate: str, refusal: bool) -> None:
    assert postgres_is_refusal(asyncpg.PostgresError.new({"C": sqlstate, "M": "words"})) is refusal
