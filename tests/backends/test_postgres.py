"""The PostgreSQL store: pooled connections that end while in use, and its schema."""

import asyncio

import asyncpg
import pytest

from backends.base import Chat, Options
from backends.postgres.store import PostgresStore
from tests.backends.conftest import until
from tests.conftest import namespace

DEADLINE_S = 5.0


async def test_a_cancelled_statement_is_cancelled(postgres_url: str) -> None:
    """The pool's error for the dropped connection must not replace the cancellation."""
    async with PostgresStore(postgres_url, Options(namespace=namespace()), notify=False) as store:
        connection = await asyncpg.connect(postgres_url)
        statement = asyncio.create_task(store._fetch("SELECT pg_sleep(60)"))
        async with asyncio.timeout(DEADLINE_S):
            running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            while not await connection.fetchval(running):
                pass
        statement.cancel()
        await asyncio.wait([statement], timeout=1.0)
        assert statement.cancelled()
        assert await store.states([]) == []  # the pool still works
        await connection.close()


async def test_an_idle_connection_closed_by_the_server_is_replaced(postgres_url: str) -> None:
    async with PostgresStore(postgres_url, Options(namespace=namespace("replaced")), notify=False) as store:
        assert await store.states([]) == []
        connection = await asyncpg.connect(postgres_url)
        ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = $1"
        assert await connection.fetchval(ended, f"{namespace('replaced')}-commands") >= 1
        await connection.close()
        assert await store.states([]) == []


async def test_a_cancelled_statement_does_not_affect_others(postgres_url: str) -> None:
    """The statements of other chats continue on their own connections."""
    async with PostgresStore(postgres_url, Options(namespace=namespace()), notify=False) as store:
        connection = await asyncpg.connect(postgres_url)
        running = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_backend_pid(), pg_sleep%'"
        other = asyncio.create_task(store._fetch("SELECT pg_backend_pid(), pg_sleep(1)"))
        async with asyncio.timeout(DEADLINE_S):
            while (pid := await connection.fetchval(running)) is None:
                pass
        for _ in range(3):
            cancelled = asyncio.create_task(store._fetch("SELECT pg_sleep(60)"))
            await until(lambda: store._pool._spare is None)
            cancelled.cancel()
            await asyncio.wait([cancelled])
        ((finished_on, _),) = await other
        assert finished_on == pid
        await connection.close()


async def test_a_connection_lost_during_its_release_does_not_fail_the_statement(postgres_url: str) -> None:
    async with PostgresStore(postgres_url, Options(namespace=namespace()), notify=False) as store:
        pool = store._pool
        at_hand, other = await pool._acquire(), await pool._acquire()
        await pool._release(at_hand)
        asyncio.get_running_loop().call_soon(other._con.terminate)  # before the pool's own task runs
        await pool._release(other)
        assert await store.states([]) == []


async def test_concurrently_started_workers_create_one_schema(postgres_url: str) -> None:
    stores = [PostgresStore(postgres_url, Options(namespace=namespace("at_once")), notify=False) for _ in range(8)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    chat = Chat("made", "1", "me", "worker")
    assert await stores[0].register(chat) is False
    assert [await store.states([chat]) for store in stores] == [["live"]] * 8
    for store in stores:
        await store.__aexit__(None, None, None)


@pytest.mark.parametrize("gone", ["DROP SCHEMA {} CASCADE", "DROP TABLE {}.chats_v1"])
async def test_a_dropped_schema_is_created_again(postgres_url: str, gone: str) -> None:
    async with PostgresStore(postgres_url, Options(namespace=namespace("gone")), notify=False) as store:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(gone.format(namespace("gone")))
        await connection.close()
        assert await store.register(Chat("after", "1", "me", "worker")) is False


async def test_updates_are_heap_only(postgres_url: str) -> None:
    """No index is written and pages are pruned without vacuum, so the table does not bloat."""
    name = namespace("hot")
    async with PostgresStore(postgres_url, Options(namespace=name), notify=True) as store:
        for life in range(100):
            chat = Chat(f"chat-{life % 5}", f"{life}", "me", "worker")
            await store.register(chat)
            await store.flag(chat.request_id, "me", remember=False)
            await store.renew([chat])
            await store.release(chat)
    connection = await asyncpg.connect(postgres_url)
    counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = $1"
    async with asyncio.timeout(DEADLINE_S):
        # Backends report their statistics at their end, which has no event.
        while (row := await connection.fetchrow(counts, name))["n_tup_upd"] < 395:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.05)
    assert row["n_tup_hot_upd"] >= 0.95 * row["n_tup_upd"]
    await connection.close()
