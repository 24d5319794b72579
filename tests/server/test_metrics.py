"""The metrics are those of all workers, whichever answers, and also after a worker was killed."""

import asyncio
import signal
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from tests.server.service import DEADLINE_S, NO_KEEP_ALIVE, SILENT, metric, question, serve, strategy, until

CHATS = 8


@pytest.fixture
def two_workers_url(upstream_url: str, redis_url: str) -> Iterator[str]:
    with serve(upstream_url, workers=2, backend=strategy(redis_url), ABORT_NAMESPACE="stopwatch_metrics") as service:
        yield service.url


async def test_two_workers_are_counted_as_one_service(two_workers_url: str) -> None:
    async with httpx2.AsyncClient(base_url=two_workers_url, limits=NO_KEEP_ALIVE, timeout=DEADLINE_S) as client:
        broken: list[str] = []

        async def chat(name: str) -> None:
            try:
                await client.post("/chat/", json=question(SILENT, request_id=name))
            except httpx2.TransportError:
                broken.append(name)

        async def shown(name: str) -> float | None:
            try:
                return metric((await client.get("/metrics")).text, name)
            except httpx2.TransportError:  # a connection that the killed worker had not yet accepted
                return None

        async def live(wanted: int) -> bool:
            return {await shown(f"stopwatch_{name}") for name in ("live_streams", "open_upstreams")} == {wanted}

        async def stop(name: str) -> None:
            answer = await client.post("/abort/", json={"request_id": name, "wait_ms": 5000})
            assert answer.json()["status"] == "stopped"

        stopped = 'stopwatch_aborts_total{outcome="stopped"}'
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            first = [f"first-{number}" for number in range(CHATS)]
            for name in first:
                tasks.create_task(chat(name))
            await until(lambda: live(CHATS))
            for name in first:
                await stop(name)
            assert await shown(stopped) == CHATS
            assert await shown("stopwatch_stop_seconds_count") == CHATS
            await until(lambda: live(0))

            second = [f"second-{number}" for number in range(CHATS)]
            for name in second:
                tasks.create_task(chat(name))
            await until(lambda: live(CHATS))
            while not (victim := (await client.get("/healthz")).json())["live"]:
                pass
            psutil.Process(victim["pid"]).send_signal(signal.SIGKILL)

            async def only_the_living() -> bool:
                """Also wait for the clients' errors: before them the metrics look unchanged."""
                count = await shown("stopwatch_live_streams")
                return bool(broken) and count == CHATS - len(broken)

            await until(only_the_living)
            left = [name for name in second if name not in broken]
            for name in left:
                await stop(name)
            await until(lambda: live(0))
            assert await shown(stopped) == CHATS + len(left)  # what the dead one had counted is not lost
            assert await shown("stopwatch_stop_seconds_count") == CHATS + len(left)
