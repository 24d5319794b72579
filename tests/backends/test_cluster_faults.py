"""Redis Cluster: failovers and moved slots during live streams and aborts."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

import backends
from tests.backends.cluster_faults import KEY, NAMES, Fault, chats, freeze, kill, migrateslots, plan, setslot
from tests.backends.clusters import MASTERS, ClusterServers, Place, cluster_servers, takes_writes
from tests.backends.fault_load import DEADLINE_S, OPTIONS, load_during
from tests.backends.netns import network

Record = Callable[[str, object], None]
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
    async with load_during(partial(fault, servers), "redis+cluster", servers.url, servers.url, ABORTS_OVER_S) as found:
        for delivery, load in found.loads.items():
            row = f"{load.row()} (servers' own time {found.over_s - found.fault_s:.2f} s)"
            record_property(f"cluster {fault.__name__:12} {delivery:5}", row)
