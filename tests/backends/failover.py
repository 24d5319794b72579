"""Pairs of real servers behind one address that can be switched while connections are open."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

import backends
from backends import AbortSignal, StoreUnavailableError
from backends.delivery import Delivery
from bench.system.embedded import EmbeddedServer, free_port, temporary_folder, unprivileged
from tests.backends.proxy import Proxy, proxy_to
from tests.conftest import namespace


def port_of(server: EmbeddedServer) -> int:
    return int(urlsplit(server.url).port or 0)


@contextmanager
def standby_of(primary: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """Start a streaming replica of an embedded PostgreSQL server."""
    run_as = unprivileged()
    binary = Path(next(word for word in primary.command if word.endswith("/postgres")))
    with temporary_folder("standby") as folder:
        run_as.chown(folder)
        backup = [*run_as.prefix, str(binary.with_name("pg_basebackup")), "--dbname", primary.url]
        backup += ["--pgdata", str(folder / "data"), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        subprocess.run(backup, check=True, capture_output=True, cwd=folder, **run_as.popen_arguments())
        port = free_port()
        command = [*run_as.prefix, str(binary), "-D", str(folder / "data"), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        url = primary.url.replace(f":{port_of(primary)}/", f":{port}/")
        standby = EmbeddedServer(
            name="postgres",
            url=url,
            command=command,
            log=folder / "log",
            ready=lambda: asyncio.run(sql(url, "SELECT 1")),
            stop_signal=primary.stop_signal,
            popen=run_as.popen_arguments(),
        )
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()


async def sql(url: str, *statements: str) -> Any:
    """Run the statements; return the value of the last one."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            value = await connection.fetchval(statement)
    finally:
        await connection.close()
    return value


async def redis_do(server: EmbeddedServer, *command: str | int) -> Any:
    async with Redis.from_url(server.url, decode_responses=True) as client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def connections_at(server: EmbeddedServer, name: str) -> set[str]:
    """The kinds of a worker's connections ("commands", "listener") at this server."""
    if server.name == "redis":
        clients = str(await redis_do(server, "CLIENT", "LIST"))
        return {kind for kind in ("commands", "listener") if f"name={name}-{kind}" in clients}
    names = await sql(server.url, "SELECT coalesce(array_agg(application_name), '{}') FROM pg_stat_activity")
    return {kind for kind in ("commands", "listener") if f"{name}-{kind}" in names}


@asynccontextmanager
async def behind_one_address(
    server: EmbeddedServer, name: str, delivery: str = "push"
) -> AsyncIterator[tuple[Proxy, Delivery, Delivery]]:
    """Two workers that reach this server through a proxy."""
    options = backends.Options(
        namespace=namespace(name), ttl_s=1.5, interval_ms=20.0, command_timeout_s=1.0, keepalive_s=2.0
    )
    async with proxy_to("127.0.0.1", port_of(server)) as proxy:
        url = server.url.replace(f":{port_of(server)}/", f":{proxy.port}/").replace("://", f"+{delivery}://")
        async with backends.from_url(url, options) as owner, backends.from_url(url, options) as other:
            yield proxy, owner, other


async def abort_until_signalled(other: Delivery, signal: AbortSignal) -> None:
    """Abort the chat `long` as a client does that presses again after each 503."""
    while not signal.aborted:
        with suppress(StoreUnavailableError):
            await other.abort("long", "me")
        if signal.poll is not None:
            await signal.poll()
        await asyncio.sleep(0.02)
