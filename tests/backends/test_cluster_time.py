"""Redis Cluster: how long after the servers' own failover aborts are accepted again."""

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

import backends
from backends.base import Store
from backends.errors import StoreUnavailableError
from tests.backends.cluster_faults import Fault, chats, freeze, kill, plan
from tests.backends.clusters import cluster_servers
from tests.backends.fault_load import DEADLINE_S, FAULT_AFTER_S, OPTIONS

AFTER_SERVER_S = 0.1


class Flags:
    """Accepted flags of the first master, one after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.accepted_s: list[float] = []

    async def run(self) -> None:
        for each in chats("flag"):
            try:
                await self._store.flag(each, "me", remember=True)
            except StoreUnavailableError:
                continue
            self.accepted_s.append(time.monotonic())
            await asyncio.sleep(0.005)

    def first_after(self, at_s: float) -> float:
        return next(accepted_s for accepted_s in self.accepted_s if accepted_s >= at_s)

    def longest_pause_s(self, since_s: float) -> float:
        times = [at_s for at_s in self.accepted_s if at_s > since_s - 0.1]
        return max(after_s - before_s for before_s, after_s in pairwise(times))


@pytest.mark.parametrize("fault", [kill, freeze, plan], ids=lambda fault: fault.__name__)
async def test_aborts_are_accepted_as_soon_as_the_servers_have_failed_over(
    fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    with cluster_servers() as servers:
        async with backends.from_url(servers.url.replace("://", "+push://"), OPTIONS) as worker:
            flags = Flags(worker.store)
            flagging = asyncio.create_task(flags.run())
            await asyncio.sleep(FAULT_AFTER_S)
            fault_s = time.monotonic()
            server_s = await fault(servers)
            async with asyncio.timeout(DEADLINE_S):
                while not flags.accepted_s or flags.accepted_s[-1] < server_s:  # noqa: ASYNC110 - has no event
                    await asyncio.sleep(0.005)
            flagging.cancel()
        back_s = flags.first_after(server_s) - server_s
        pause_s = flags.longest_pause_s(fault_s)
        row = f"no accepts for {pause_s:.2f} s (server {server_s - fault_s:.2f} s + {back_s:.3f} s)"
        record_property(f"cluster {fault.__name__:6} push", row)
        assert back_s < AFTER_SERVER_S
