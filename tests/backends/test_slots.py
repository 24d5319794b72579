"""Reading many flags: one command on a single server, one per slot on a cluster's server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

import backends
from backends.base import Chat, Options, State
from backends.redis.keys import BUCKETS
from bench.system.embedded import free_port
from bench.system.servers import redis_server
from tests.backends.conftest import until
from tests.conftest import namespace

OPTIONS = Options(namespace=namespace("slots"), interval_ms=20.0)
CHATS = [Chat(f"slots-{number}", "1", "me", "worker") for number in range(4 * BUCKETS)]  # more than one in most slots


async def test_no_chats_need_no_read(redis_url: str) -> None:
    async with _opened(redis_url, "timer") as one:
        assert await one.store.states([]) == []


async def test_many_chats_are_read_by_one_command(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis, _opened(redis_url, "timer") as one:
        await one.store.renew(CHATS)
        before = await _reads(redis)
        assert await one.store.states(CHATS) == [State.LIVE] * len(CHATS)
        assert await _reads(redis) - before == 1


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with redis_server({"cluster-enabled": "yes", "cluster-port": str(free_port())}) as server:
        yield server.url


@pytest.fixture
async def node(cluster_url: str) -> AsyncIterator[Any]:
    """A cluster of one node with all slots."""
    redis: Any = Redis.from_url(cluster_url)
    async with redis:
        if not await redis.execute_command("CLUSTER SLOTS"):
            await redis.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)

        async with asyncio.timeout(10):
            while (await redis.execute_command("CLUSTER INFO"))["cluster_state"] != "ok":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield redis


async def test_a_cluster_node_is_read_slot_by_slot(cluster_url: str, node: Any) -> None:
    async with _opened(cluster_url, "timer") as one:
        await one.store.renew(CHATS)
        for _ in range(2):  # the first gets CROSSSLOT
            assert await one.store.states(CHATS) == [State.LIVE] * len(CHATS)
        before = await _reads(node)
        await one.store.states(CHATS)
        assert await _reads(node) - before == BUCKETS


@pytest.mark.parametrize("delivery", ["poll", "timer", "push"])
@pytest.mark.usefixtures("node")
async def test_aborts_reach_their_chats_through_a_cluster_node(cluster_url: str, delivery: str) -> None:
    ids = [f"{delivery}-{number}" for number in range(2 * BUCKETS)]
    async with (
        _opened(cluster_url, delivery) as owner,
        _opened(cluster_url, delivery) as other,
        AsyncExitStack() as all_,
    ):
        signals = [await all_.enter_async_context(owner.watch(each, "me")) for each in ids]
        for each in ids:
            await other.abort(each, "me")
        for signal in signals:
            if signal.poll is not None:
                await signal.poll()
        await until(lambda: all(signal.aborted for signal in signals))


def _opened(url: str, delivery: str) -> Any:
    return backends.from_url(url.replace("://", f"+{delivery}://"), OPTIONS)


async def _reads(redis: Any) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])
