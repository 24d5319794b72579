"""/readyz and the start of a service report whether aborts can arrive, also without chats."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from redis.asyncio import Redis

from bench.system.servers import redis_server
from tests.backends.proxy import proxy_to
from tests.server.service import DEADLINE_S, NO_KEEP_ALIVE, chunks, metric, question, readyz, serve, strategy, until

START_S = 30.0
CHATS = 6


@pytest.mark.parametrize("delivery", ["poll", "timer", "push"])
async def test_an_idle_worker_whose_store_goes_away_is_not_ready(upstream_url: str, delivery: str) -> None:
    with (
        redis_server() as store,
        serve(
            upstream_url,
            backend=strategy(store.url, delivery),
            ABORT_HEARTBEAT_S="0.3",
            ABORT_COMMAND_TIMEOUT_S="0.3",
        ) as service,
    ):
        async with httpx2.AsyncClient(base_url=service.url, timeout=DEADLINE_S) as person:

            async def age() -> float:
                return metric((await person.get("/metrics")).text, "stopwatch_heartbeat_age_seconds")

            async def old() -> bool:
                return await age() > 0.9

            async def young() -> bool:
                return await age() < 0.9

            answer = await person.get("/readyz")
            assert answer.status_code == 200
            assert answer.json()["heartbeat_age_s"] < 0.9
            assert "reason" not in answer.json()
            store.kill()
            await until(readyz(person, 503))
            answer = (await person.get("/readyz")).json()
            assert answer["ready"] is False
            assert answer["reason"] == "the store cannot be reached or rejects writes: see the log"
            await until(old)
            assert (await person.get("/readyz")).status_code == 503
            store.start()
            await until(readyz(person, 200))
            await until(young)


async def test_a_deaf_listener_fails_the_start(postgres_url: str) -> None:
    address = urlsplit(postgres_url)
    async with proxy_to(str(address.hostname), int(address.port or 0)) as proxy:
        proxy.drops_messages = True
        url = strategy(postgres_url).replace(f":{address.port}/", f":{proxy.port}/")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server", "--port", "0", "--backend", url),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(START_S):
            _, stderr = await process.communicate()
    assert process.returncode == 4
    assert stderr.decode().count("\n") == 1
    assert "the listener's connection receives no messages" in stderr.decode()
    assert "transaction pooler" in stderr.decode()


async def test_a_listener_that_turns_deaf_is_not_ready_and_logged(
    upstream_url: str, postgres_url: str, tmp_path: Path
) -> None:
    address = urlsplit(postgres_url)
    log = tmp_path / "log"
    async with proxy_to(str(address.hostname), int(address.port or 0)) as proxy:
        url = strategy(postgres_url).replace(f":{address.port}/", f":{proxy.port}/")
        with log.open("w") as stderr:
            service = serve(upstream_url, backend=url, stderr=stderr, ABORT_HEARTBEAT_S="0.3")
            one = await asyncio.to_thread(service.__enter__)
            try:
                async with httpx2.AsyncClient(base_url=one.url, timeout=DEADLINE_S) as person:
                    proxy.drops_messages = True
                    await until(readyz(person, 503))
                    answer = (await person.get("/readyz")).json()
                    assert "transaction pooler" in answer["reason"]
                    assert answer["deaf"] == 1

                    async def logged() -> bool:  # the service looks for changes twice a second
                        await person.get("/readyz")
                        return "receives no messages" in log.read_text()

                    await until(logged)
                    proxy.drops_messages = False
                    await until(readyz(person, 200))
            finally:
                await asyncio.to_thread(service.__exit__, None, None, None)


async def test_a_stop_is_accepted_after_flushall(upstream_url: str) -> None:
    """Two workers: the Stop lands on either, the chat runs on either."""
    with (
        redis_server() as store,
        serve(upstream_url, workers=2, backend=strategy(store.url)) as service,
    ):
        async with httpx2.AsyncClient(base_url=service.url, limits=NO_KEEP_ALIVE, timeout=DEADLINE_S) as person:
            started = [asyncio.Event() for _ in range(CHATS)]

            async def chat(number: int) -> str:
                body = question("[mock:output_tokens=30000]", request_id=f"emptied-{number}")
                async with person.stream("POST", "/chat/", json=body) as answer:
                    text = ""
                    async for line in answer.aiter_lines():
                        started[number].set()
                        text += line + "\n"
                return text

            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                chats = [tasks.create_task(chat(number)) for number in range(CHATS)]
                for event in started:
                    await event.wait()
                async with Redis.from_url(store.url) as redis:
                    await redis.flushall()
                for number in range(CHATS):
                    answer = await person.post("/abort/", json={"request_id": f"emptied-{number}", "wait_ms": 5000})
                    assert (answer.status_code, answer.json()["status"]) == (200, "stopped")
            for each in chats:
                assert chunks(each.result())[-1]["choices"][0]["finish_reason"] == "abort"
