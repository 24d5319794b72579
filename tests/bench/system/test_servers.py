"""Containers, and servers of the user, on which only the data of the run is deleted."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from bench.system.containers import container
from bench.system.embedded import StoreError
from bench.system.stores import open_store


def engine_runs() -> bool:
    """In another process, because a client that finds no engine leaves an open socket behind."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_engine = pytest.mark.skipif(not engine_runs(), reason="no Docker engine runs here")


def test_an_unknown_value_of_stores_is_rejected_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORES", "podman")
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(StoreError, match="choose embedded or docker"), open_store("redis"):
        pass


def test_a_run_without_a_docker_engine_ends_with_exit_code_2(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--backend", "redis", "--quick", "--results", str(tmp_path)],
        env=os.environ | {"STORES": "docker", "DOCKER_HOST": "tcp://127.0.0.1:1", "REDIS_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "start a Docker engine" in run.stderr


def test_only_the_keys_of_the_namespace_are_deleted(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    with Redis.from_url(redis_url) as client, open_store("redis") as store:
        client.set("yours", 1)
        client.set("ours_x:{1}:chat", 1)
        store.delete_namespace("ours_x")
        assert client.delete("yours") == 1
        assert client.exists("ours_x:{1}:chat") == 0


def test_only_the_schema_of_the_namespace_is_deleted(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(query: str) -> object:
        connection = await asyncpg.connect(postgres_url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    monkeypatch.setenv("DATABASE_URL", postgres_url)
    asyncio.run(fetch("CREATE SCHEMA yours"))
    asyncio.run(fetch("CREATE SCHEMA ours_x"))
    with open_store("postgres") as store:
        store.delete_namespace("ours_x")
    left = "SELECT string_agg(nspname, ',') FROM pg_namespace WHERE nspname IN ('yours', 'ours_x')"
    assert asyncio.run(fetch(left)) == "yours"
    asyncio.run(fetch("DROP SCHEMA yours"))


@needs_engine
@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_container_is_a_store(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORES", "docker")
    for variable in ("REDIS_URL", "DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    with open_store(kind) as store:
        assert (store.how, store.name) == ("docker", kind)
        assert store.version[0].isdigit()
        assert store.ops() >= 0


@needs_engine
def test_the_conformance_suite_passes_in_containers() -> None:
    """The suite that the embedded servers pass, with the images."""
    with container("redis") as redis_url, container("postgres") as postgres_url:
        suite = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/backends/test_conformance.py"],
            env=os.environ | {"REDIS_URL": redis_url, "DATABASE_URL": postgres_url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert suite.returncode == 0, suite.stdout[-3000:]
