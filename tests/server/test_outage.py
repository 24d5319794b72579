"""An outage of the store, over HTTP: streams continue, refusals have Retry-After, no restart is needed."""

import httpx2
import pytest

from bench.system.servers import redis_server
from tests.server.service import DEADLINE_S, chunks, journal, metric, question, readyz, serve, strategy, until


@pytest.mark.parametrize("outage", ["refuse", "start"])
async def test_an_outage_of_the_store(
    upstream_url: str, mock: httpx2.AsyncClient, request_id: str, outage: str
) -> None:
    with (
        redis_server() as store,
        serve(
            upstream_url,
            backend=strategy(store.url),
            ABORT_OUTAGE=outage,
            ABORT_COMMAND_TIMEOUT_S="0.5",
            ABORT_HEARTBEAT_S="0.5",
        ) as service,
    ):
        async with httpx2.AsyncClient(base_url=service.url, timeout=DEADLINE_S) as person:

            async def ready_metric(wanted: float) -> bool:
                return metric((await person.get("/metrics")).text, "stopwatch_listener_ready") == wanted

            async def lost() -> float:
                return metric((await person.get("/metrics")).text, 'stopwatch_store_events_total{event="lost"}')

            assert await readyz(person, 200)()
            await until(lambda: ready_metric(1))
            assert await lost() == 0
            body = question("[mock:output_tokens=30000]", request_id="through-it")
            async with person.stream("POST", "/chat/", json=body) as answer:
                lines = answer.aiter_lines()
                text = await anext(lines)
                store.kill()
                await until(readyz(person, 503))
                await until(lambda: ready_metric(0))
                assert await lost() > 0

                refused = await person.post("/abort/", json={"request_id": "through-it"})
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                for _ in range(20):  # the stream goes on meanwhile
                    text += "\n" + await anext(lines)
                assert chunks(text)[-1]["choices"][0]["finish_reason"] is None

                new = await person.post("/chat/", json=question("[mock:output_tokens=2]", request_id=request_id))
                if outage == "refuse":
                    assert (new.status_code, new.headers["retry-after"]) == (503, "1")
                    assert await journal(mock, request_id) == []  # the upstream got no request
                else:
                    assert chunks(new.text)[-1]["choices"][0]["finish_reason"] == "stop"

                store.start()
                await until(readyz(person, 200))
                await until(lambda: ready_metric(1))
                stopped = await person.post("/abort/", json={"request_id": "through-it", "wait_ms": 5000})
                assert stopped.json()["status"] == "stopped"
                text = "\n".join([line async for line in lines])
                assert chunks(text)[-1]["choices"][0]["finish_reason"] == "abort"
            after = await person.post("/chat/", json=question("[mock:output_tokens=2]", request_id=request_id))
            assert chunks(after.text)[-1]["choices"][0]["finish_reason"] == "stop"
