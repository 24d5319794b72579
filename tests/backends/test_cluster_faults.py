"""Redis Cluster: failovers and moved slots during live streams and aborts."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

import backends
from tests.backends.cluster_faults import KEY, NAMES, Fault, chats, freeze, kill, migrateslots, plan, setslot
from tests.backends.clusters import MASTERS, ClusterServers, Place, cluster_servers, takes_writes
from tests.backends.fault_load import DEADLINE_S, FAULT_AFTER_S, OPTIONS, fault_load
from tests.backends.netns import network

Record = Callable[[str, object], None]
DELIVERIES = ("poll", "timer", "push")
ABORTS_OVER_S = 2.0


@pytest.mark.parametrize("fault", [kill, freeze, plan, setslot, migrateslots], ids=lambda fault: fault.__name__)
async def test_no_accepted_abort_is_lost(fault: Fault, record_property: Record) -> None:
    with cluster_servers() as servers:
        await run(servers, fault, record_property)


async def test_no_accepted_abort_is_lost_with_its_record(record_property: Record) -> None:
    """The replica is cut off from its master, which accepts aborts and then dies: the only case that loses records."""
    with network() as net:
        beside, replica = Place(net.outside), Place(net.other)
        with cluster_servers((Place(net.inside, net.prefix), beside, beside, replica, beside, beside)) as servers:

            async def cut(servers: ClusterServers) -> float:
                master, replica = servers.nodes[0], servers.nodes[MASTERS]
                net.cut()
                assert await stopper.abort(chat, "me") is backends.AbortOutcome.ACCEPTED
                assert master.ask("GET", NAMES.chat(chat)).startswith(b"aborted ")
                master.server.kill()
                server_s = await takes_writes(replica, KEY)
                assert (replica.ask("GET", NAMES.chat(chat)) or b"").startswith(b"live ")
                return server_s

            chat = next(chats("unread"))
            url = servers.url.replace("://", "+poll://")
            async with (
                backends.from_url(url, OPTIONS) as owner,
                backends.from_url(url, OPTIONS) as stopper,
                owner.watch(chat, "me") as abort_signal,
            ):
                servers.nodes[0].ask("WAIT", 1, 1000)
                await run(servers, cut, record_property)
                async with asyncio.timeout(DEADLINE_S):
                    while abort_signal.poll is not None and not await abort_signal.poll():  # noqa: ASYNC110 - as poll does
                        await asyncio.sleep(0.01)
                assert stopper.counters.repeated_aborts == 1


async def run(servers: ClusterServers, fault: Fault, record_property: Record) -> None:
    """All deliveries at once."""
    async with AsyncExitStack() as stack:
        loads = [
            await stack.enter_async_context(
                fault_load("redis+cluster", delivery, servers.url, servers.url, ABORTS_OVER_S)
            )
            for delivery in DELIVERIES
        ]
        all_live = asyncio.Barrier(len(loads) + 1)
        async with asyncio.TaskGroup() as tasks:
            for load in loads:
                tasks.create_task(load.run(all_live))
            await all_live.wait()
            await asyncio.sleep(FAULT_AFTER_S)
            fault_s = time.monotonic()
            server_s = await fault(servers)
        for load, delivery in zip(loads, DELIVERIES, strict=True):
            row = f"{load.row()} (servers' own time {server_s - fault_s:.2f} s)"
            record_property(f"cluster {fault.__name__:12} {delivery:5}", row)
