"""A master, a replica and three Sentinels, started from the embedded Redis."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Connection
from redis.exceptions import RedisError

from bench.system.embedded import EmbeddedServer, free_port, temporary_folder
from bench.system.servers import redis_server
from tests.backends.failover import port_of

NAME = "sw"
DOWN_AFTER_MS = 500
DEADLINE_S = 15.0


@dataclass
class Group:
    """The servers; the first one is the master until a failover."""

    nodes: list[EmbeddedServer]
    sentinels: list[int]

    @property
    def url(self) -> str:
        """The backend URL without the delivery."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.sentinels)}/{NAME}"

    def ask_sentinel(self, *command: str) -> Any:
        return ask(self.sentinels[0], *command)

    async def failed_over(self) -> float:
        """The time (s, monotonic) at which the Sentinels name a new master and it takes writes."""
        old = port_of(self.nodes[0])
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if await asyncio.to_thread(self._master_is_not, old):
                    return time.monotonic()
                await asyncio.sleep(0.01)

    def _master_is_not(self, old: int) -> bool:
        _, port = self.ask_sentinel("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(port) != old and bool(ask(int(port), "ROLE")[0] == b"master")


def ask(port: int, *command: str, host: str = "127.0.0.1") -> Any:
    """The server's reply, as it came."""
    connection: Any = cast(Any, Connection)(host=host, port=port, socket_timeout=1.0, protocol=2)
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


@contextmanager
def sentinel_group() -> Iterator[Group]:
    """Start them, and wait until every Sentinel knows the replica and the other two."""
    with ExitStack() as stack:
        at_once = {"repl-diskless-sync-delay": "0"}
        master = stack.enter_context(redis_server(at_once))
        replica = stack.enter_context(redis_server(at_once))
        ask(port_of(replica), "REPLICAOF", "127.0.0.1", str(port_of(master)))
        folder = stack.enter_context(temporary_folder("sentinels"))
        ports = [_start_sentinel(stack, folder, master.command[0], port_of(master)) for _ in range(3)]
        group = Group([master, replica], ports)
        deadline_s = time.monotonic() + DEADLINE_S
        while not all(_knows_all(port) for port in ports):
            assert time.monotonic() < deadline_s, "the Sentinels do not find each other"
            time.sleep(0.02)
        yield group


@contextmanager
def sentinel_without_masters(group: Group) -> Iterator[int]:
    """Start another Sentinel that monitors nothing; yield its port."""
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("sentinel"))
        yield _start_sentinel(stack, folder, group.nodes[0].command[0], master=None)


def _start_sentinel(stack: ExitStack, folder: Path, program: str, master: int | None) -> int:
    port = free_port()
    file = folder / f"{port}.conf"
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {folder}"]
    if master is not None:
        lines += [f"sentinel monitor {NAME} 127.0.0.1 {master} 2"]
        lines += [f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}", f"sentinel failover-timeout {NAME} 3000"]
    file.write_text("\n".join(lines) + "\n")
    log = folder / f"{port}.log"
    server = EmbeddedServer("sentinel", "", [program, str(file), "--sentinel"], log, lambda: ask(port, "PING"))
    server.start()
    stack.callback(server.stop)
    return port


def _knows_all(port: int) -> bool:
    try:
        fields = ask(port, "SENTINEL", "MASTER", NAME)
    except (RedisError, OSError):
        return False
    known = dict(zip(fields[::2], fields[1::2], strict=True))
    return bool(known[b"num-slaves"] == b"1" and known[b"num-other-sentinels"] == b"2")
