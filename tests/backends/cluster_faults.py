"""Faults of a Redis Cluster: its first master is lost, or one of its slots is moved."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from itertools import count

import pytest
from redis.exceptions import ResponseError

from backends.redis.keys import BUCKETS, Names, bucket_of
from backends.redis.slots import slot_of
from tests.backends.clusters import MASTERS, ClusterNode, ClusterServers, master_index, takes_writes
from tests.backends.fault_load import NAMESPACE

Fault = Callable[[ClusterServers], Awaitable[float]]
"""Injects it; returns when the servers took writes again (s, monotonic)."""
NAMES = Names(NAMESPACE)
BUCKET = next(bucket for bucket in range(BUCKETS) if master_index(NAMES._tag(bucket)) == 0)
KEY = f"{NAMES._tag(BUCKET)}test"
SLOT = slot_of(("GET", KEY))
MOVE_S = 0.3


def chats(name: str) -> Iterator[str]:
    """Ids in the bucket that the faults are about."""
    return (each for number in count() if bucket_of(each := f"{name}-{number}") == BUCKET)


async def kill(servers: ClusterServers) -> float:
    servers.nodes[0].server.kill()
    return await takes_writes(servers.nodes[MASTERS], KEY)


async def freeze(servers: ClusterServers) -> float:
    servers.nodes[0].server.process.send_signal(signal.SIGSTOP)
    return await takes_writes(servers.nodes[MASTERS], KEY)


async def plan(servers: ClusterServers) -> float:
    servers.nodes[MASTERS].ask("CLUSTER", "FAILOVER")
    return await takes_writes(servers.nodes[MASTERS], KEY)


def begin_move(servers: ClusterServers, *, back: bool = False) -> None:
    """Begin to move the slot from the first master to the second, as `redis-cli --cluster reshard` does."""
    source, target = _move(servers, back)
    target.ask("CLUSTER", "SETSLOT", SLOT, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", SLOT, "MIGRATING", target.id)


def end_move(servers: ClusterServers, *, back: bool = False) -> None:
    """Move the keys that are left, then the slot."""
    source, target = _move(servers, back)
    while keys := source.ask("CLUSTER", "GETKEYSINSLOT", SLOT, 10):
        source.ask("MIGRATE", target.place.host, target.port, "", 0, 1000, "KEYS", *(key.decode() for key in keys))
    for node in (target, source, servers.nodes[2]):
        node.ask("CLUSTER", "SETSLOT", SLOT, "NODE", target.id)


def _move(servers: ClusterServers, back: bool) -> tuple[ClusterNode, ClusterNode]:
    return (servers.nodes[1], servers.nodes[0]) if back else (servers.nodes[0], servers.nodes[1])


async def setslot(servers: ClusterServers) -> float:
    """With a pause, in which commands for keys that are not at the source are answered with ASK."""
    begin_move(servers)
    await asyncio.sleep(MOVE_S)
    end_move(servers)
    return await takes_writes(servers.nodes[1], KEY)


async def migrateslots(servers: ClusterServers) -> float:
    source, target = servers.nodes[0], servers.nodes[1]
    try:
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", target.id)
    except ResponseError as error:
        pytest.skip(f"this server has no MIGRATESLOTS: {error}")
    return await takes_writes(target, KEY)
