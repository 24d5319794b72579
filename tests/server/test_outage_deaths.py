"""A worker that dies while the store is away."""

import asyncio
import signal
from pathlib import Path
from typing import IO, Any

import httpx2
import psutil
import pytest

from bench.system.servers import postgres_server, redis_server
from tests.server.service import (
    DEADLINE_S,
    json_lines,
    metric,
    question,
    serve,
    wait_for_lines,
    workers_of,
)
from tests.server.service import strategy as backend_url


@pytest.mark.parametrize("strategy", ["redis-push", "postgres-timer"])
async def test_a_worker_dies_while_the_store_is_away(
    upstream_url: str, log: Path, stderr: IO[str], person: httpx2.AsyncClient, strategy: str
) -> None:
    await check_death_during_outage(upstream_url, log, stderr, person, strategy)


async def check_death_during_outage(
    upstream_url: str, log: Path, stderr: IO[str], person: httpx2.AsyncClient, strategy: str
) -> None:
    """The other worker and its chat go on, and take all new connections; the replacement comes with the store."""
    store, delivery = strategy.split("-")
    with (
        (redis_server if store == "redis" else postgres_server)() as server,
        serve(
            upstream_url,
            workers=2,
            backend=backend_url(server.url, delivery),
            stderr=stderr,
            ABORT_COMMAND_TIMEOUT_S="0.5",
            DRAIN_S="0",
        ) as service,
    ):
        pids = await workers_of(service.url, person)
        body = question("[mock:output_tokens=30000]", request_id="goes-on")
        async with person.stream("POST", f"{service.url}/chat/", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            healthy: dict[str, Any] = {}
            async with asyncio.timeout(DEADLINE_S):
                while not healthy.get("live"):
                    healthy = (await person.get(f"{service.url}/healthz")).json()
            (victim,) = pids - {healthy["pid"]}
            if store == "postgres":
                server.process.send_signal(signal.SIGQUIT)
                await asyncio.to_thread(server.process.wait)
            else:
                server.kill()
            psutil.Process(victim).send_signal(signal.SIGKILL)
            await wait_for_lines(log, 2, message="worker cannot start")
            died = json_lines(log, message="worker died")
            assert [(line["pid"], line["signal"]) for line in died] == [(victim, "SIGKILL")]
            asked = [(await person.get(f"{service.url}/healthz")).json()["pid"] for _ in range(20)]
            assert asked == [healthy["pid"]] * 20
            await asyncio.to_thread(server.start)
            await wait_for_lines(log, message="worker replaced")
            assert len(await workers_of(service.url, person)) == 2
            metrics = (await person.get(f"{service.url}/metrics")).text
            assert metric(metrics, "stopwatch_worker_deaths_total") == 1
            assert metric(metrics, "stopwatch_worker_failed_starts_total") == len(
                json_lines(log, message="worker cannot start")
            )
            await anext(lines)  # the chat still flows
        assert service.process.poll() is None
        assert not [line for line in json_lines(log, message="worker cannot start") if "\n" in line["cause"]]
