"""The stores under test: our own servers, containers, or the servers that REDIS_URL, DATABASE_URL and NATS_URL name."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from bench.system.containers import NO_SETTINGS, container
from bench.system.counters import NatsCounter, PostgresCounter, RedisCounter
from bench.system.cpu_time import tree_cpu_ns
from bench.system.embedded import EmbeddedServer, StoreError
from bench.system.environment import URL_VARIABLES
from bench.system.servers import SERVERS
from bench.system.store_urls import checked, where, with_delivery

COUNTERS: dict[str, type[RedisCounter | PostgresCounter | NatsCounter]] = {
    "redis": RedisCounter,
    "postgres": PostgresCounter,
    "nats": NatsCounter,
}


class Store:
    """A store that answers.

    `url` is `redis://host:port/db` or `postgres://user:password@host:port/database`, `how` is `embedded`, `docker` or
    `url`, `server` its process when it is ours; `name` (`valkey`, `redis`, `postgres`) and `version` are its own.
    """

    def __init__(self, kind: str, url: str, how: str, server: EmbeddedServer | None = None) -> None:
        self.kind = kind
        self.url = url
        self.how = how
        self.server = server
        self._counter = COUNTERS[kind](url)
        self.name = self._counter.name
        self.version = self._counter.version

    def describe(self) -> dict[str, str]:
        """The store in the manifest; `counter` is the source of its operations."""
        return {"name": self.name, "version": self.version, "how": self.how, "counter": self._counter.source}

    def ops(self, *, settled: bool = False) -> int:
        """Commands (Redis) or transactions (PostgreSQL) since we connected, our own excluded.

        `settled`: the service has ended; wait until all its operations are counted (PostgreSQL reports late).
        """
        return self._counter.read(settled=settled)

    def strategy_url(self, delivery: str) -> str:
        """The address for `python -m server --backend`, e.g. `redis+push://127.0.0.1:6379/0`."""
        return with_delivery(self.kind, self.url, delivery)

    def records(self, namespace: str) -> int:
        """Records of chats that a service has left under this namespace."""
        return self._counter.records(namespace)

    def delete_namespace(self, namespace: str) -> None:
        """Delete what a run has stored under its namespace. Raises StoreError when the store does not answer."""
        try:
            self._counter.delete_namespace(namespace)
        except Exception as error:
            raise StoreError(
                f"{self.kind} does not answer any more ({type(error).__name__}), so what this run kept under "
                f"{namespace!r} is still there"
            ) from error

    def connections(self) -> int | None:
        """Connected clients, our own excluded; None where the store does not tell."""
        return self._counter.connections()

    def cpu_s(self) -> float | None:
        """User and system time of the server so far, in seconds; None when the process is not ours."""
        return None if self.server is None else tree_cpu_ns(self.server.process.pid) / 1e9

    def pause(self, seconds: float) -> None:
        """Have the server hold back every command for this long. Raises StoreError for another store than Redis."""
        if not isinstance(self._counter, RedisCounter):
            raise StoreError(f"{self.kind} cannot be paused: use redis")
        self._counter.pause(seconds)

    def crash(self) -> None:
        """Kill our own server as a crash would, with the loss of its memory. Raises StoreError for another's."""
        if self.server is None:
            raise StoreError(f"{self.kind} is a server of yours: a crash is measured with our own ones only")
        self.server.kill()

    def restart(self) -> None:
        """Start it again after a crash, on the same port; its counters start at 0."""
        if self.server is not None:
            self.server.start()
            self._counter.close()
            self._counter = COUNTERS[self.kind](self.url)

    def close(self) -> None:
        """Close our own connection to it."""
        self._counter.close()


@contextlib.contextmanager
def open_store(kind: str, settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[Store]:
    """The `redis`, `postgres` or `nats` store that its variable names, else the one that STORES selects.

    STORES is `embedded` (the default) or `docker`; both get these settings. Raises StoreError, naming the variable to
    change, when the store cannot be started or reached, and PlanError for an invalid URL.
    """
    variable = URL_VARIABLES[kind]
    with contextlib.ExitStack() as stack:
        url = os.environ.get(variable)
        how = "url" if url else os.environ.get("STORES") or "embedded"
        server = None
        if how == "embedded":
            server = stack.enter_context(SERVERS[kind](settings))
            url = server.url
        elif how == "docker":
            url = stack.enter_context(container(kind, settings))
        elif url:
            url = checked(variable, kind, url)
        else:
            raise StoreError(f"STORES is {how!r}: choose embedded or docker, or set {variable} to use your own server")
        try:
            store = Store(kind, url, how, server)
        except Exception as error:
            raise StoreError(
                f"{variable} names a {kind} server at {where(url)} that does not answer ({type(error).__name__}): "
                f"start it, or unset {variable} to use our own"
            ) from error
        stack.callback(store.close)
        yield store
