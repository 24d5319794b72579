"""Processes that die during chats: a worker of four, and the upstream. The other chats continue."""

import asyncio
import json
import signal
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from tests.processes import Running, running
from tests.server.service import chunks, question, serve, strategy

DEADLINE_S = 15.0
STREAMS = 50
STRATEGIES = ("redis-push", "postgres-poll")
"""One per store here; the others in tests/slow/server."""


@pytest.fixture
def upstream() -> Iterator[Running]:
    with running("mock_llm", "serve", "--port", "0", "--itl-ms", "20") as mock:
        yield mock


@pytest.fixture
def four_workers(upstream: Running, request: pytest.FixtureRequest) -> Iterator[Running]:
    store, delivery = request.param.split("-")
    url = strategy(str(request.getfixturevalue(f"{store}_url")), delivery)
    with serve(upstream.url, workers=4, backend=url, ABORT_TTL_S="2") as service:
        yield service


async def pid_of(client: httpx2.AsyncClient) -> int:
    return int((await client.get("/healthz")).json()["pid"])


async def press(client: httpx2.AsyncClient, name: str) -> str:
    """The outcome of an abort, which is repeated while the dead worker's connections are reset."""
    end = "unknown"
    for _ in range(20):
        try:
            abort = await client.post("/abort/", json={"request_id": name})
        except httpx2.TransportError:
            end = "unanswered"  # the worker may have recorded it and died before it answered
            continue
        if abort.status_code == 503:
            continue
        assert abort.status_code in (200, 404)
        return "accepted" if abort.status_code == 200 else end
    raise AssertionError(f"{name} could not be stopped")


@pytest.mark.parametrize("four_workers", STRATEGIES, indirect=True)
async def test_one_of_four_workers_is_killed(four_workers: Running) -> None:
    await check_death_of_a_worker(four_workers)


async def check_death_of_a_worker(four_workers: Running) -> None:
    """In the middle of the aborts. Its own chats break off, all others are stopped, its ids are free after a TTL."""
    limits = httpx2.Limits(max_keepalive_connections=0, max_connections=200)
    ended: dict[str, str] = {}
    started = [asyncio.Event() for _ in range(STREAMS)]
    door = asyncio.Semaphore(5)  # a crowd at the start would be another test

    async def chat(client: httpx2.AsyncClient, number: int) -> None:
        body = question("[mock:output_tokens=3000,itl_ms=100]", request_id=f"death-{number}")
        text = ""
        await door.acquire()
        try:
            async with client.stream("POST", "/chat/", json=body) as answer:
                async for line in answer.aiter_lines():
                    text += line + "\n"
                    if not started[number].is_set():
                        started[number].set()
                        door.release()
        except httpx2.TransportError:
            ended[f"death-{number}"] = "broken"
        else:
            ended[f"death-{number}"] = chunks(text)[-1]["choices"][0]["finish_reason"]

    async with httpx2.AsyncClient(base_url=four_workers.url, limits=limits, timeout=DEADLINE_S) as client:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for number in range(STREAMS):
                tasks.create_task(chat(client, number))
            for event in started:
                await event.wait()
            victim = await pid_of(client)
            accepted: set[str] = set()
            unanswered: set[str] = set()
            for number in range(STREAMS):
                if number == STREAMS // 5:
                    psutil.Process(victim).send_signal(signal.SIGKILL)
                end = await press(client, f"death-{number}")
                {"accepted": accepted, "unanswered": unanswered}.get(end, set()).add(f"death-{number}")
        broken = {name for name, end in ended.items() if end == "broken"}
        assert 0 < len(broken) < STREAMS
        assert {name for name, end in ended.items() if end == "abort"} == set(ended) - broken
        assert accepted | unanswered >= set(ended) - broken
        again = question("[mock:output_tokens=1]", request_id=min(broken))
        async with asyncio.timeout(DEADLINE_S):
            # The record's own expiry is what is waited for.
            while (answer := await client.post("/chat/", json=again)).status_code == 409:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert answer.status_code == 200


@pytest.mark.parametrize("four_workers", ["redis-push"], indirect=True)
async def test_the_upstream_dies_in_the_middle(four_workers: Running, upstream: Running) -> None:
    """Every chat ends with an error event, at once, and its id is free."""
    async with httpx2.AsyncClient(base_url=four_workers.url, timeout=DEADLINE_S) as client:

        async def chat(number: int) -> str:
            body = question("[mock:output_tokens=3000]", request_id=f"orphan-{number}")
            async with client.stream("POST", "/chat/", json=body) as answer:
                parts = answer.aiter_text()
                text = await anext(parts)
                alive[number].set()
                return text + "".join([part async for part in parts])

        alive = [asyncio.Event() for _ in range(STREAMS)]
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(chat(number)) for number in range(STREAMS)]
            for event in alive:
                await event.wait()
            upstream.process.kill()
        for answer in answers:
            text = answer.result()
            assert text.endswith("data: [DONE]\n\n")
            error = json.loads(text.split("event: error\ndata: ")[1].split("\n")[0])
            assert error["error"]["type"] == "upstream_unreachable"
        late = await client.post("/abort/", json={"request_id": "orphan-0"})
        assert late.status_code == 404
        refused = await client.post("/chat/", json=question())
        assert refused.status_code == 502
