"""The stores on the real servers: they start anywhere, come back on the same port, count, and leave nothing behind."""

import asyncio
import os
import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from redis import Redis

from bench.system.embedded import EmbeddedServer, RunAsUser, StoreError, unprivileged
from bench.system.environment import URL_VARIABLES
from bench.system.servers import BINARY_VARIABLES, SERVERS, package_file
from bench.system.store_urls import EXAMPLES, for_asyncpg
from bench.system.stores import Store, open_store
from bench.workload.scenario import PlanError

KINDS = sorted(SERVERS)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders of these tests alone: others may be running."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def server(kind: str) -> Iterator[EmbeddedServer]:
    with SERVERS[kind]() as running:
        yield running


def listens(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname or "", address.port or 0)) == 0


def say(kind: str, url: str, times: int) -> None:
    """Let a client do `times` operations in the store."""
    if kind == "redis":
        with Redis.from_url(url) as client:
            for _ in range(times):
                client.get("key")
        return

    async def ask() -> None:
        connection = await asyncpg.connect(url)
        for number in range(times):
            await connection.execute(f"SELECT {number}")
        await connection.close()

    asyncio.run(ask())


def test_it_serves_and_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    with SERVERS[kind]() as running:
        assert len(list(tmp_path.iterdir())) == 1
        say(kind, running.url, 1)
        family = [running.process.pid, *(p.pid for p in psutil.Process(running.process.pid).children(recursive=True))]
    assert not listens(running.url)
    left = [pid for pid in family if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert left == []
    assert list(tmp_path.iterdir()) == []


def test_it_leaves_nothing_behind_after_an_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in mid-test"), SERVERS[kind]() as running:
        raise RuntimeError("in mid-test")
    assert not listens(running.url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["stop", "kill", "restart"])
def test_it_comes_back_on_the_same_port(kind: str, server: EmbeddedServer, end: str) -> None:
    url, pid = server.url, server.process.pid
    getattr(server, end)()
    assert listens(url) == (end == "restart")
    server.restart()
    assert server.url == url
    assert server.process.pid != pid
    say(kind, url, 1)


async def test_it_may_be_restarted_from_within_a_running_loop(server: EmbeddedServer) -> None:
    server.restart()
    assert listens(server.url)


def test_it_listens_on_loopback_only(server: EmbeddedServer) -> None:
    listening = [c for c in psutil.Process(server.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_the_store_says_what_it_is_and_counts_what_others_did(kind: str) -> None:
    with open_store(kind) as store:
        assert (store.name, store.how) == ({"redis": "valkey", "postgres": "postgres"}[kind], "embedded")
        assert store.version[0].isdigit()
        assert [store.ops(), store.ops()] == [0, 0]  # reading is not counted
        say(kind, store.url, 50)
        first = store.ops(settled=True)
        assert 50 <= first < 60  # connecting costs a few
        assert store.ops(settled=True) == first
        say(kind, store.url, 500)
        assert store.ops(settled=True) - first - 450 == first  # every further operation counts once


def test_work_of_a_client_that_leaves_late_is_counted_exactly() -> None:
    async def work_and_linger(url: str, worked: threading.Event) -> None:
        connection = await asyncpg.connect(url)
        for number in range(50):
            await connection.execute(f"SELECT {number}")
        worked.set()
        await asyncio.sleep(0.5)  # the readings below have to wait for this
        await connection.close()

    with open_store("postgres") as store:
        say("postgres", store.url, 50)
        at_once = store.ops(settled=True)
        worked = threading.Event()
        client = threading.Thread(target=lambda: asyncio.run(work_and_linger(store.url, worked)))
        client.start()
        worked.wait()
        assert store.ops(settled=True) == 2 * at_once
        client.join()


def test_a_service_sees_the_delivery_in_the_url(kind: str, server: EmbeddedServer) -> None:
    store = Store(kind, server.url, "embedded")
    assert store.strategy_url("push") == server.url.replace(f"{kind}://", f"{kind}+push://")
    store.url = "postgresql://a:b@c/d"
    assert store.strategy_url("timer") == f"{kind}+timer://a:b@c/d"
    store.url = "rediss://a:b@c/0"
    assert store.strategy_url("push") == "rediss+push://a:b@c/0"  # TLS stays
    store.close()


def test_a_server_of_yours_is_used_when_its_variable_is_set(
    kind: str, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLES[kind], server.url)
    with open_store(kind) as store:
        assert (store.url, store.how) == (server.url, "url")
    assert listens(server.url)  # it is not ours to stop


@pytest.mark.parametrize("user", ["", "me:secret@"])
def test_a_dead_url_names_the_variable_and_no_password(kind: str, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        nobody_listens_at = nobody_listens.getsockname()[1]
        monkeypatch.setenv(URL_VARIABLES[kind], f"{kind}://{user}127.0.0.1:{nobody_listens_at}/0")
        with pytest.raises(StoreError) as refused, open_store(kind):
            pass
    assert URL_VARIABLES[kind] in str(refused.value)
    assert f"at 127.0.0.1:{nobody_listens_at}" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nonsense", " 'nonsense'"),
        ("localhost:6379", " 'localhost:6379'"),
        ("mysql://h/d", ""),
        ("me:secret@localhost", ""),
        ("redis:/me:secret@h", ""),
    ],
)
def test_what_is_no_url_is_called_that(kind: str, monkeypatch: pytest.MonkeyPatch, value: str, shown: str) -> None:
    monkeypatch.setenv(URL_VARIABLES[kind], value)
    with pytest.raises(PlanError) as refused, open_store(kind):
        pass
    assert str(refused.value) == f"{URL_VARIABLES[kind]}{shown} is no URL: {EXAMPLES[kind]}"


@pytest.mark.parametrize("character", "#/?")
@pytest.mark.parametrize("user", ["me", ""])
def test_no_part_of_a_raw_password_is_shown(
    kind: str, monkeypatch: pytest.MonkeyPatch, user: str, character: str
) -> None:
    for password in (f"12{character}secret", f"hidden{character}secret"):
        monkeypatch.setenv(URL_VARIABLES[kind], f"{kind}://{user}:{password}@127.0.0.1:1/0")
        with pytest.raises(PlanError, match="percent-encoded") as refused, open_store(kind):
            pass
        assert not re.search("12|hidden|secret", str(refused.value))


def test_a_url_in_libpqs_own_form_is_understood(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres_url.replace("postgres://", "postgresql+asyncpg://")
    monkeypatch.setenv("DATABASE_URL", f"{url}?sslmode=prefer&channel_binding=prefer&connect_timeout=5")
    with open_store("postgres") as store:
        assert store.strategy_url("push").startswith("postgres+push://")
    assert for_asyncpg("postgres://me:p@ss:w%25@h:1/d") == "postgres://me:p%40ss%3Aw%25@h:1/d"


def test_a_missing_wheel_is_told_with_the_next_step() -> None:
    with pytest.raises(StoreError, match=r"make setup.*REDIS_URL or DATABASE_URL"):
        package_file("no_such_package", "bin/server")


def test_a_server_that_cannot_start_tells_its_last_words(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConnectionError

    server = EmbeddedServer("redis", "", ["sh", "-c", "echo 'no room'; exit 1"], tmp_path / "log", refuse)
    with pytest.raises(StoreError, match="redis did not start: no room"):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_becomes_somebody_else_even_without_user_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_server_that_is_named_and_not_there_is_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY_VARIABLES[kind], "/no/such/server")
    with pytest.raises(StoreError, match="_BINARY names /no/such/server"), SERVERS[kind]():
        pass
