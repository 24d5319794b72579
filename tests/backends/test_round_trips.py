"""Round trips of a chat, counted by a proxy in front of the real servers."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

import backends
from backends.base import Chat, Options
from backends.measure import trips
from backends.measure.counting import counting
from tests.backends.conftest import DURABLE, url_of
from tests.conftest import namespace

OPTIONS = Options(ttl_s=3600.0, heartbeat_s=3600.0, keepalive_s=3600.0, namespace=namespace("trips"))
INTERVAL_MS = 40.0
STARTUP_SCRIPTS = ("register", "flag", "renew", "release")  # run by each of the two workers at its start
READ_AND_WRITTEN = {("nats", "abort"): 2, ("nats", "release"): 3}
"""Steps of more than one round trip: NATS has no scripts. These chats were aborted by another worker, so the write of
the owner, which takes its own last one for the newest, fails first."""
EARLY = 0.9  # of an interval: uvloop's timers may fire early


@pytest.mark.parametrize("strategy", DURABLE)
async def test_registering_and_releasing_take_one_round_trip_each(
    strategy: str, request: pytest.FixtureRequest
) -> None:
    options = OPTIONS
    if strategy.startswith("nats"):  # a store without scripts needs more trips for an id whose tombstone is still there
        options = replace(OPTIONS, namespace=namespace(f"trips_{strategy.replace('-', '_')}"))
    rows = {row["step"]: row for row in await trips.steps(url_of(strategy, request), options)}
    for step in ("register", "abort", "release"):
        each = READ_AND_WRITTEN.get((strategy.partition("-")[0], step), 1)
        assert rows[step]["trips"] == each * rows[step]["times"]
        assert rows[step]["first"] <= each + 1  # a new connection may first need the statement or the script


@pytest.mark.parametrize("strategy", ["postgres-poll", "redis-poll"])
async def test_a_poll_is_exactly_one_read(strategy: str, request: pytest.FixtureRequest) -> None:
    rows = {row["step"]: row for row in await trips.steps(url_of(strategy, request), OPTIONS)}
    assert rows["read"]["trips"] == rows["read"]["times"]


@pytest.mark.parametrize("streams", trips.STREAMS)
@pytest.mark.parametrize("strategy", ["postgres-timer", "redis-timer"])
async def test_a_timer_reads_once_per_interval_for_any_number_of_streams(
    strategy: str, streams: int, request: pytest.FixtureRequest
) -> None:
    options = replace(OPTIONS, interval_ms=INTERVAL_MS)
    row = await trips.timer_reads(url_of(strategy, request), options, streams)
    assert row["closest"] > EARLY


@pytest.mark.parametrize("strategy", ["postgres-push", "redis-push", "nats-push"])
async def test_a_stream_with_push_reads_nothing(strategy: str, request: pytest.FixtureRequest) -> None:
    async with (
        counting(url_of(strategy, request)) as counted,
        backends.from_url(counted.url, OPTIONS) as worker,
        worker.watch("quiet", "me") as signal,
    ):
        before = counted.count
        await asyncio.sleep(0.1)  # the absence of reads has no event
        assert signal.poll is None
        assert counted.count == before


async def test_the_servers_own_count_is_the_same(redis_url: str) -> None:
    """The proxy's count of round trips equals the server's count of scripts."""
    async with Redis.from_url(redis_url) as redis:
        before = await _scripts_run(redis)
        rows = await trips.steps(redis_url.replace("://", "+push://"), OPTIONS)
        ran = await _scripts_run(redis) - before
    # Besides the steps: the startup check of each of the two workers, and its first heartbeat.
    assert ran == sum(row["times"] + 1 for row in rows) + 2 * (len(STARTUP_SCRIPTS) + 1)


async def _scripts_run(redis: Any) -> int:
    stats: dict[str, dict[str, int]] = await redis.info("commandstats")
    calls = Counter({name: stat["calls"] - stat["failed_calls"] for name, stat in stats.items()})
    return calls["cmdstat_evalsha"] + calls["cmdstat_eval"]


async def test_a_renewal_is_one_round_trip_for_any_number_of_chats(redis_url: str) -> None:
    async with (
        counting(redis_url.replace("://", "+poll://")) as counted,
        backends.from_url(counted.url, OPTIONS) as one,
    ):
        chats = [Chat(f"renewed-{number}", "1", "me", "worker") for number in range(50)]
        await one.store.renew(chats)  # loads the script
        before = counted.count
        await one.store.renew(chats)
        assert counted.count - before == 1
