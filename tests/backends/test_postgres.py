"""What only PostgreSQL's store can get wrong: connections of a pool that are ended while they are in use."""

import asyncio

import asyncpg

from backends.base import Options
from backends.postgres import PostgresStore

DEADLINE_S = 5.0


async def test_a_cancelled_statement_is_cancelled(postgres_url: str) -> None:
    """Its connection is dropped; what the pool says of a dropped connection must not take the cancellation's place."""
    async with PostgresStore(postgres_url, Options(), notify=False) as store:
        connection = await asyncpg.connect(postgres_url)
        statement = asyncio.create_task(store._fetch("SELECT pg_sleep(60)"))
        async with asyncio.timeout(DEADLINE_S):
            running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            while not await connection.fetchval(running):
                pass
        statement.cancel()
        await asyncio.wait([statement], timeout=1.0)
        assert statement.cancelled()
        assert await store.states([]) == []  # and the pool serves on
        await connection.close()


async def test_a_connection_that_was_ended_at_rest_is_replaced(postgres_url: str) -> None:
    async with PostgresStore(postgres_url, Options(namespace="replaced"), notify=False) as store:
        assert await store.states([]) == []
        connection = await asyncpg.connect(postgres_url)
        ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = $1"
        assert await connection.fetchval(ended, "replaced-commands") >= 1
        await connection.close()
        assert await store.states([]) == []
