"""Our own stores: they start, restart on the same port, count operations, and leave nothing behind."""

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import nats
import psutil
import pytest
from nats.js.errors import KeyNotFoundError
from redis import Redis

from bench.system.embedded import EmbeddedServer, RunAsUser, StoreError, unprivileged
from bench.system.servers import BINARY_VARIABLES, SERVERS, package_file
from bench.system.stores import Store, open_store

KINDS = sorted(SERVERS)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], EmbeddedServer]]:
    """One server of each kind, started when a test first needs it, and again when a test has ended it."""
    with contextlib.ExitStack() as stack:
        started: dict[str, EmbeddedServer] = {}

        def get(kind: str) -> EmbeddedServer:
            if kind not in started:
                started[kind] = stack.enter_context(SERVERS[kind]())
            if started[kind].process.poll() is not None:
                started[kind].start()
            return started[kind]

        yield get


@pytest.fixture
def server(kind: str, servers: Callable[[str], EmbeddedServer]) -> EmbeddedServer:
    return servers(kind)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary folders, for this test alone: other tests may be running."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def listens(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname or "", address.port or 0)) == 0


def operate(kind: str, url: str, times: int) -> None:
    """Connect a client that does `times` operations in the store."""
    if kind == "redis":
        with Redis.from_url(url) as client:
            for _ in range(times):
                client.get("key")
        return

    async def reads() -> None:
        client = await nats.connect(url)
        bucket = await client.jetstream().create_key_value(bucket="operate")
        for _ in range(times):
            with contextlib.suppress(KeyNotFoundError):
                await bucket.get("key")
        await client.close()

    if kind == "nats":
        asyncio.run(reads())
        return

    async def queries() -> None:
        connection = await asyncpg.connect(url)
        for number in range(times):
            await connection.execute(f"SELECT {number}")
        await connection.close()

    asyncio.run(queries())


@pytest.mark.parametrize("error", [None, RuntimeError], ids=["", "after an error"])
def test_it_serves_and_leaves_nothing_behind(kind: str, error: type[Exception] | None, own_folder: Path) -> None:
    with contextlib.suppress(RuntimeError), SERVERS[kind]() as running:
        assert len(list(own_folder.iterdir())) == 1
        operate(kind, running.url, 1)
        family = [running.process.pid, *(p.pid for p in psutil.Process(running.process.pid).children(recursive=True))]
        if error:
            raise error
    assert not listens(running.url)
    left = [pid for pid in family if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert left == []
    assert list(own_folder.iterdir()) == []


@pytest.mark.parametrize("end", ["stop", "kill", "restart"])
def test_it_restarts_on_the_same_port(kind: str, server: EmbeddedServer, end: str) -> None:
    url, pid = server.url, server.process.pid
    getattr(server, end)()
    assert listens(url) == (end == "restart")
    server.restart()
    assert server.url == url
    assert server.process.pid != pid
    operate(kind, url, 1)


async def test_it_can_be_restarted_inside_a_running_loop(server: EmbeddedServer) -> None:
    server.restart()
    assert listens(server.url)


def test_it_listens_on_loopback_only(server: EmbeddedServer) -> None:
    listening = [c for c in psutil.Process(server.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_the_store_has_a_name_and_a_version_and_counts_the_operations_of_others(kind: str) -> None:
    with open_store(kind) as store:
        assert store.how == ("docker" if os.environ.get("STORES") == "docker" else "embedded")
        assert store.name == ("valkey" if (kind, store.how) == ("redis", "embedded") else kind)
        assert store.version[0].isdigit()
        assert [store.ops(), store.ops()] == [0, 0]  # readings are not counted
        operate(kind, store.url, 50)
        first = store.ops(settled=True)
        assert 50 <= first < 60  # connecting costs a few
        assert store.ops(settled=True) == first
        operate(kind, store.url, 500)
        assert store.ops(settled=True) - first - 450 == first  # every further operation counts once


def test_operations_of_a_client_that_disconnects_late_are_counted_exactly(
    servers: Callable[[str], EmbeddedServer],
) -> None:
    async def work_and_stay(url: str, worked: threading.Event) -> None:
        connection = await asyncpg.connect(url)
        for number in range(50):
            await connection.execute(f"SELECT {number}")
        worked.set()
        await asyncio.sleep(0.5)  # the readings below have to wait for this
        await connection.close()

    with contextlib.closing(Store("postgres", servers("postgres").url, "embedded")) as store:
        operate("postgres", store.url, 50)
        at_once = store.ops(settled=True)
        worked = threading.Event()
        client = threading.Thread(target=lambda: asyncio.run(work_and_stay(store.url, worked)))
        client.start()
        worked.wait()
        assert store.ops(settled=True) == 2 * at_once
        client.join()


def test_a_missing_wheel_is_reported_with_the_next_step() -> None:
    with pytest.raises(StoreError, match=r"make setup.*REDIS_URL or DATABASE_URL"):
        package_file("no_such_package", "bin/server")


def test_the_error_of_a_server_that_cannot_start_has_its_last_log_line(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConnectionError

    server = EmbeddedServer("redis", "", ["sh", "-c", "echo 'no room'; exit 1"], tmp_path / "log", refuse)
    with pytest.raises(StoreError, match="redis did not start: no room"):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_root_becomes_another_user_even_without_user_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unprivileged() != RunAsUser()
    refused: subprocess.CompletedProcess[bytes] = subprocess.CompletedProcess([], 1)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *_, **__: refused)
        unprivileged.cache_clear()
        run_as = unprivileged()
    unprivileged.cache_clear()
    assert run_as == RunAsUser(user=65534)
    assert (
        subprocess.run(["id", "-u"], capture_output=True, check=True, **run_as.popen_arguments()).stdout == b"65534\n"
    )


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_named_program_that_is_absent_is_reported(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY_VARIABLES[kind], "/no/such/server")
    with pytest.raises(StoreError, match="_BINARY names /no/such/server"), SERVERS[kind]():
        pass
