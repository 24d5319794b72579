"""What a store server reports about itself: name, version, its own counter of operations, its clients.

All classes connect when they are made, so that making one proves that the server answers.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from bench.system.store_urls import for_asyncpg

CONNECT_DEADLINE_S = 5.0
LEAVE_DEADLINE_S = 5.0


class _Counter(ABC):
    """Readings of the store's own counter, to which each of them adds `_cost`; `_own` is all that is not counted."""

    _cost: int
    _own: int

    def read(self, *, settled: bool = False) -> int:  # noqa: ARG002 - counts immediately, unless a class says more
        """Operations since this object was made, our own excluded."""
        total = self._total() - self._own
        self._own += self._cost
        return total

    def close(self) -> None:  # noqa: B027 - most classes keep no connection
        """Close the connection, if one is kept."""

    @abstractmethod
    def _total(self) -> int:
        """What the store's counter shows now."""


def _in_loop(task: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread with its own loop, because callers may run inside a loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, task).result()


class RedisCounter(_Counter):
    """Calls of all commands, also those inside scripts, over one connection that is kept."""

    source = "INFO commandstats: calls"
    _cost = 1

    def __init__(self, url: str) -> None:
        from redis import Redis  # noqa: PLC0415 - only runs with Redis need the driver
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        self._client = Redis.from_url(url, socket_connect_timeout=CONNECT_DEADLINE_S, retry=Retry(NoBackoff(), 0))
        try:
            server = self._client.info("server")
            self._own = self._total() + 1
        except BaseException:
            self._client.close()
            raise
        self.name = str(server.get("server_name", "redis"))
        self.version = str(server.get("valkey_version") or server.get("redis_version"))

    def _total(self) -> int:
        return sum(int(command["calls"]) for command in self._client.info("commandstats").values())

    def connections(self) -> int:
        """Connected clients, this one excluded."""
        self._own += 1
        return int(self._client.info("clients")["connected_clients"]) - 1

    def records(self, namespace: str) -> int:
        """Records of chats under this namespace; the workers' heartbeats do not count."""
        return sum(1 for _ in self._client.scan_iter(f"{namespace}:{{*}}:*", count=1000))

    def delete_namespace(self, namespace: str) -> None:
        """Delete the keys of this namespace only."""
        for key in self._client.scan_iter(f"{namespace}:*", count=1000):
            self._client.delete(key)

    def pause(self, seconds: float) -> None:
        """Have the server hold back the commands of all clients for this long."""
        self._client.client_pause(round(seconds * 1000))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class PostgresCounter(_Counter):
    """Commits and rollbacks of the database; the cost of a reading, which takes a connection, is measured first.

    pg_stat_statements would count statements, but must be preloaded, and our own server does not have it.
    """

    source = "pg_stat_database: commits and rollbacks"

    def __init__(self, url: str) -> None:
        self._url = for_asyncpg(url)
        self.name = "postgres"
        self.version = str(self._fetch("SHOW server_version"))
        self._others = int(self._fetch(_CLIENTS))
        first, second, third = self._total(), self._total(), self._total()
        self._cost = min(second - first, third - second)  # the larger may include other clients' transactions
        self._own = third + self._cost

    def read(self, *, settled: bool = False) -> int:
        """Transactions since this object was made, our own excluded.

        A backend reports its counts up to 10 s late, but always when its client disconnects: `settled` first waits
        (at most 5 s) until every client that connected after this object was made has disconnected.
        """
        deadline = time.monotonic() + LEAVE_DEADLINE_S
        while settled and time.monotonic() < deadline and self.connections() > 0:
            time.sleep(0.05)
        return super().read()

    def connections(self) -> int:
        """Client backends of this database, ours and those that were there before excluded."""
        self._own += self._cost
        return int(self._fetch(_CLIENTS)) - self._others

    def records(self, namespace: str) -> int:
        """Records of chats under this namespace; the workers' heartbeats do not count."""
        return int(self._fetch(f"SELECT count(*) FROM {namespace}.chats_v1 WHERE state <> 'beat'"))  # noqa: S608 - ours

    def delete_namespace(self, namespace: str) -> None:
        """Drop the schema of this namespace."""
        self._fetch(f"DROP SCHEMA IF EXISTS {namespace} CASCADE")  # the run chose the name: letters and digits

    def _total(self) -> int:
        return int(self._fetch(_TRANSACTIONS))

    def _fetch(self, query: str) -> Any:
        """The one value of a query."""
        return _in_loop(_fetch(self._url, query))


class NatsCounter(_Counter):
    """Requests to JetStream (reads) and messages in its streams (writes); the cost of a reading is measured first."""

    source = "JetStream: requests of the account and last sequences of its streams"

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = "nats"
        self.version = str(self._run(_nats_version))
        first, second = self._total(), self._total()
        self._cost = second - first
        self._own = second + self._cost

    def connections(self) -> None:
        """Unknown: a client cannot ask for it."""

    def records(self, namespace: str) -> int:
        """Records of chats under this namespace; the workers' heartbeats do not count."""

        async def count(client: Any) -> int:
            info = await client.jetstream().stream_info(f"KV_{namespace}", subjects_filter=f"$KV.{namespace}.chat.>")
            return len(info.state.subjects or {})

        self._own += 1
        return int(self._run(count))

    def delete_namespace(self, namespace: str) -> None:
        """Delete the bucket of this namespace."""

        async def delete(client: Any) -> None:
            from nats.js.errors import NotFoundError  # noqa: PLC0415 - only runs with NATS need the driver

            with suppress(NotFoundError):
                await client.jetstream().delete_stream(f"KV_{namespace}")

        self._run(delete)

    def _total(self) -> int:
        return int(self._run(_nats_total))

    def _run(self, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        return _in_loop(_with_nats(self._url, ask))


async def _nats_version(client: Any) -> str:
    version = client.connected_server_version
    return f"{version.major}.{version.minor}.{version.patch}"


async def _nats_total(client: Any) -> int:
    context = client.jetstream()
    streams = await context.streams_info()
    return int((await context.account_info()).api.total + sum(each.state.last_seq for each in streams))


async def _with_nats(url: str, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    import nats  # noqa: PLC0415 - only runs with NATS need the driver

    async def ignore(_error: Exception) -> None:
        """The caller gets the error; nats-py would also log it."""

    async with asyncio.timeout(CONNECT_DEADLINE_S):  # nats-py tries a server that does not listen again and again
        client = await nats.connect(url, allow_reconnect=False, max_reconnect_attempts=1, error_cb=ignore)
    try:
        return await ask(client)
    finally:
        await client.close()


_TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
_CLIENTS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


async def _fetch(url: str, query: str) -> Any:
    import asyncpg  # noqa: PLC0415 - only runs with PostgreSQL need the driver

    connection = await asyncpg.connect(url, timeout=CONNECT_DEADLINE_S)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
