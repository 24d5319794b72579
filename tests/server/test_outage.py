"""The store goes away and comes back, over HTTP: streams go on, refusals say when to try again, nobody restarts."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from bench.system.stores import redis_server
from tests.processes import running
from tests.server.test_http import chunks, question

DEADLINE_S = 20.0


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await what():
            pass


def value(metrics: str, name: str) -> float:
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name))


@pytest.mark.parametrize("outage", ["refuse", "start"])
async def test_an_outage_of_the_store(upstream_url: str, outage: str) -> None:
    with (
        redis_server() as store,
        running(
            *("server", "--port", "0", "--workers", "1", "--backend", store.url.replace("://", "+push://")),
            OPENAI_BASE_URL=f"{upstream_url}/v1",
            ABORT_OUTAGE=outage,
            ABORT_COMMAND_TIMEOUT_S="0.5",
        ) as service,
    ):
        async with httpx2.AsyncClient(base_url=service.url, timeout=DEADLINE_S) as person:

            async def ready() -> bool:
                return (await person.get("/readyz")).status_code == 200

            async def away() -> bool:
                return not await ready()

            async def ready_metric(wanted: float) -> bool:
                return value((await person.get("/metrics")).text, "stopwatch_listener_ready") == wanted

            async def lost() -> float:
                return value((await person.get("/metrics")).text, 'stopwatch_store_events_total{event="lost"}')

            assert await ready()
            await until(lambda: ready_metric(1))
            assert await lost() == 0
            body = question("[mock:output_tokens=30000]", request_id="through-it")
            async with person.stream("POST", "/chat/", json=body) as answer:
                lines = answer.aiter_lines()
                text = await anext(lines)
                store.kill()
                await until(away)
                await until(lambda: ready_metric(0))
                assert await lost() > 0

                refused = await person.post("/abort/", json={"request_id": "through-it"})
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                for _ in range(20):  # the stream goes on meanwhile
                    text += "\n" + await anext(lines)
                assert chunks(text)[-1]["choices"][0]["finish_reason"] is None

                new = await person.post("/chat/", json=question("[mock:output_tokens=2]", request_id="meanwhile"))
                if outage == "refuse":
                    assert (new.status_code, new.headers["retry-after"]) == (503, "1")
                else:
                    assert chunks(new.text)[-1]["choices"][0]["finish_reason"] == "stop"

                store.start()
                await until(ready)
                await until(lambda: ready_metric(1))
                stopped = await person.post("/abort/", json={"request_id": "through-it", "wait_ms": 5000})
                assert stopped.json()["status"] == "stopped"
                text = "\n".join([line async for line in lines])
                assert chunks(text)[-1]["choices"][0]["finish_reason"] == "abort"
            after = await person.post("/chat/", json=question("[mock:output_tokens=2]", request_id="meanwhile"))
            assert chunks(after.text)[-1]["choices"][0]["finish_reason"] == "stop"
