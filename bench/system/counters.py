"""What a store server says about itself: name, version, and its own counter of the work it has done."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from bench.system.store_urls import for_asyncpg

CONNECT_DEADLINE_S = 5.0
LEAVE_DEADLINE_S = 5.0


class Counter(Protocol):
    """One server; made by connecting to it, so that making it proves that it answers."""

    name: str
    version: str
    source: str
    """Where its numbers come from, in words."""

    def read(self, *, settled: bool = False) -> int:
        """Operations since this object was made, without its own; `settled`: wait until late reports are in."""
        ...

    def connections(self) -> int:
        """Clients connected now, without us."""
        ...

    def delete_namespace(self, namespace: str) -> None:
        """Remove what the service kept under this namespace, and nothing else."""
        ...

    def close(self) -> None:
        """Leave the server."""
        ...


class RedisCounter:
    """Calls of all commands, over one connection: each reading adds exactly one command of our own."""

    source = "INFO commandstats: calls"

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

    def read(self, *, settled: bool = False) -> int:  # noqa: ARG002 - this server counts at once
        """Commands since this object was made; those inside scripts count as the server counts them."""
        total = self._total() - self._own
        self._own += 1
        return total

    def connections(self) -> int:
        """Connected clients, without this one."""
        self._own += 1
        return int(self._client.info("clients")["connected_clients"]) - 1

    def delete_namespace(self, namespace: str) -> None:
        """Delete the keys of this namespace; the server's other keys are none of ours."""
        for key in self._client.scan_iter(f"{namespace}:*", count=1000):
            self._client.delete(key)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class PostgresCounter:
    """Commits and rollbacks of the database; each reading takes a connection, whose cost is measured at first.

    Not pg_stat_statements: it counts statements, but must be preloaded, and the wheel with our own server has none.
    """

    source = "pg_stat_database: commits and rollbacks"

    def __init__(self, url: str) -> None:
        self._url = for_asyncpg(url)
        self.name = "postgres"
        self.version = str(self._ask("SHOW server_version"))
        self._guests = int(self._ask(_GUESTS))
        first, second, third = self._total(), self._total(), self._total()
        self._cost = min(second - first, third - second)  # the smaller one: others may be at work in the database too
        self._own = third + self._cost

    def read(self, *, settled: bool = False) -> int:
        """Transactions since this object was made.

        A backend reports its counts up to 10 s late, but always when it leaves: `settled` first waits (at most 5 s)
        until every client that came after this object has left the database.
        """
        deadline = time.monotonic() + LEAVE_DEADLINE_S
        while settled and time.monotonic() < deadline and int(self._ask(_GUESTS)) > self._guests:
            self._own += self._cost
            time.sleep(0.05)
        if settled:
            self._own += self._cost
        total = self._total() - self._own
        self._own += self._cost
        return total

    def connections(self) -> int:
        """Client backends in this database, without the asking one and those that were there before us."""
        self._own += self._cost
        return int(self._ask(_GUESTS)) - self._guests

    def delete_namespace(self, namespace: str) -> None:
        """Drop the schema of this namespace."""
        self._ask(f"DROP SCHEMA IF EXISTS {namespace} CASCADE")  # the runner made the name: letters and digits

    def close(self) -> None:
        """Nothing is held between readings."""

    def _total(self) -> int:
        return int(self._ask(_TRANSACTIONS))

    def _ask(self, query: str) -> Any:
        """One value, in a thread with a loop of its own: callers may be inside a running loop."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, _fetch(self._url, query)).result()


_TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
_GUESTS = (
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
