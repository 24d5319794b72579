"""Three masters with a replica each, started from the embedded Redis without redis-cli."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from backends.redis.slots import SLOTS, slot_of
from bench.system.embedded import EmbeddedServer, free_port, temporary_folder
from bench.system.servers import redis_program
from tests.backends.sentinels import ask

MASTERS = 3
NODE_TIMEOUT_MS = 500
DEADLINE_S = 15.0


@dataclass(frozen=True)
class Place:
    """Where a server runs: its address, and what its command begins with."""

    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


@dataclass
class ClusterNode:
    """One server."""

    place: Place
    port: int
    server: EmbeddedServer

    def ask(self, *command: str | int) -> Any:
        """The reply; raises RedisError or OSError."""
        return ask(self.port, *map(str, command), host=self.place.host)

    @property
    def id(self) -> str:
        return str(self.ask("CLUSTER", "MYID").decode())


@dataclass
class ClusterServers:
    """The servers as they were started: the masters, then the replica of each if there is one."""

    nodes: list[ClusterNode]

    @property
    def url(self) -> str:
        """The backend URL without the delivery; it names two masters and the last server."""
        named = [self.nodes[index] for index in (0, 1, -1)]
        return f"redis+cluster://{','.join(f'{node.place.host}:{node.port}' for node in named)}"


def master_index(key: str) -> int:
    """Which master serves this key at first."""
    return min(slot_of(("GET", key)) // (SLOTS // MASTERS), MASTERS - 1)


def wait_for(condition: Callable[[], object], pause_s: float = 0.01) -> float:
    """Wait until the condition holds and raises no error; return the time (s, monotonic)."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            if condition():
                return time.monotonic()
        except (RedisError, OSError):
            pass
        assert time.monotonic() < deadline_s, "the servers did not get there"
        time.sleep(pause_s)


async def takes_writes(node: ClusterNode, key: str) -> float:
    """Wait until this server writes the key; return the time (s, monotonic)."""
    return await asyncio.to_thread(wait_for, lambda: node.ask("SET", key, "1", "PX", 1) == b"OK", 0.002)


@contextmanager
def cluster_servers(places: Sequence[Place] = (Place(),) * 2 * MASTERS) -> Iterator[ClusterServers]:
    """Start them and wait until every node knows all others, and every master its replica."""
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("cluster"))
        servers = ClusterServers([_start(stack, folder, place) for place in places])
        _join(servers.nodes)
        yield servers


def _start(stack: ExitStack, folder: Path, place: Place) -> ClusterNode:
    port, bus_port = free_port(), free_port()
    own_folder = folder / str(port)
    own_folder.mkdir()
    command = [*place.prefix, str(redis_program()), "--port", str(port), "--bind", place.host]
    command += [
        "--protected-mode",
        "no",
        "--save",
        "",
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        str(bus_port),
        "--bind-source-addr",
        place.host,
    ]
    command += ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--repl-diskless-sync-delay", "0"]
    ready = partial(ask, port, "PING", host=place.host)
    server = EmbeddedServer("cluster", "", [*command, "--dir", str(own_folder)], own_folder / "log", ready)
    server.start()
    stack.callback(server.kill)
    return ClusterNode(place, port, server)


def _join(nodes: list[ClusterNode]) -> None:
    share = SLOTS // MASTERS
    for number, node in enumerate(nodes[:MASTERS]):
        last = SLOTS - 1 if number == MASTERS - 1 else (number + 1) * share - 1
        node.ask("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node in nodes[1:]:
        bus_port = node.ask("CONFIG", "GET", "cluster-port")[1].decode()
        nodes[0].ask("CLUSTER", "MEET", node.place.host, node.port, bus_port)
    for replica, master in zip(nodes[MASTERS:], nodes[:MASTERS], strict=False):
        wait_for(partial(replica.ask, "CLUSTER", "REPLICATE", master.id))
    for node in nodes:
        wait_for(partial(_is_complete, node, len(nodes)))


def _is_complete(node: ClusterNode, count: int) -> bool:
    info = node.ask("CLUSTER", "INFO").decode()
    replication = node.ask("INFO", "replication").decode()
    return (
        "cluster_state:ok" in info
        and f"cluster_known_nodes:{count}" in info
        and node.ask("CLUSTER", "NODES").decode().count("slave") == count - MASTERS
        and (count == MASTERS or "connected_slaves:1" in replication or "master_link_status:up" in replication)
    )
