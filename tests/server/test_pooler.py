"""The service with PostgreSQL behind a real PgBouncer in transaction mode, and a direct address for its listeners."""

import asyncio
import statistics
import time

import httpx2

from tests.backends.pgbouncer import needs_pgbouncer, pgbouncer
from tests.server.service import DEADLINE_S, NO_KEEP_ALIVE, question, readyz, serve, strategy, until

CHATS = 6
STOPPED_MS = 100.0  # a worker without a listener reads its flags every 500 ms


async def stop_chat(person: httpx2.AsyncClient, request_id: str) -> float:
    """Start a chat and stop it; return the milliseconds from the request to the end of its upstream."""
    body = question("[mock:output_tokens=30000]", request_id=request_id)
    async with person.stream("POST", "/chat/", json=body) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        started_s = time.monotonic()
        stopped = await person.post("/abort/", json={"request_id": request_id, "wait_ms": 5000})
        assert (stopped.status_code, stopped.json()["status"]) == (200, "stopped")
        return (time.monotonic() - started_s) * 1000


@needs_pgbouncer
async def test_stops_are_pushed_and_readyz_reports_a_pooler_that_is_down(upstream_url: str, postgres_url: str) -> None:
    with pgbouncer(postgres_url, "transaction") as pooler:
        url = f"{strategy(pooler.url)}?listen={postgres_url}"
        with serve(upstream_url, workers=2, backend=url, ABORT_HEARTBEAT_S="0.3") as service:
            async with httpx2.AsyncClient(base_url=service.url, limits=NO_KEEP_ALIVE, timeout=DEADLINE_S) as person:
                assert (await person.get("/readyz")).status_code == 200
                stops_ms = [await stop_chat(person, f"pooled-{number}") for number in range(CHATS)]
                assert statistics.median(stops_ms) < STOPPED_MS
                await asyncio.to_thread(pooler.kill)
                await until(readyz(person, 503))
                assert (await person.post("/abort/", json={"request_id": "any"})).status_code == 503
                await asyncio.to_thread(pooler.start)
                await until(readyz(person, 200))
                await stop_chat(person, "pooled-again")
