"""The supervisor when workers die or cannot be replaced, and when it is killed."""

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import httpx2
import psutil
import pytest

from bench.system.stores import postgres_server, redis_server
from server.app import _stop_with_supervisor
from tests.server.service import DEADLINE_S, NO_KEEP_ALIVE, chunks, json_lines, metric, question, serve, wait_for_lines
from tests.server.service import strategy as backend_url

QUICK = "tests.server.shorter_limits"
"""`python -m server` whose supervisor waits less."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def stderr(log: Path) -> Iterator[IO[str]]:
    with log.open("w") as file:
        yield file


@pytest.fixture
async def person() -> AsyncIterator[httpx2.AsyncClient]:
    """Makes a new connection for every request, so that any worker may get it."""
    async with httpx2.AsyncClient(limits=NO_KEEP_ALIVE, timeout=DEADLINE_S) as client:
        yield client


async def workers_of(url: str, person: httpx2.AsyncClient, wanted: int = 2) -> set[int]:
    pids: set[int] = set()
    async with asyncio.timeout(DEADLINE_S):
        while len(pids) < wanted:
            pids.add((await person.get(f"{url}/healthz")).json()["pid"])
    return pids


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


async def test_a_replacement_has_the_dead_workers_socket(
    log: Path, stderr: IO[str], person: httpx2.AsyncClient
) -> None:
    """It gets its share of new connections and no more, and those that waited for the dead worker are not lost."""
    with serve(workers=2, backend="none://", stderr=stderr) as service:
        victim, other = sorted(await workers_of(service.url, person))
        assert metric((await person.get(f"{service.url}/metrics")).text, "stopwatch_worker_deaths_total") == 0
        psutil.Process(victim).suspend()  # accepts nothing, so that what the kernel gives it waits
        host, port = service.url.removeprefix("http://").split(":")
        waiting = [socket.create_connection((host, int(port)), timeout=DEADLINE_S) for _ in range(30)]
        for connection in waiting:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        psutil.Process(victim).kill()
        answers = [await asyncio.to_thread(connection.recv, 65536) for connection in waiting]
        for connection in waiting:
            connection.close()
        assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 30
        replacement = (await wait_for_lines(log, message="worker replaced"))[0]["pid"]
        asked = Counter([(await person.get(f"{service.url}/healthz")).json()["pid"] for _ in range(200)])
        assert set(asked) == {other, replacement}
        assert 60 <= asked[replacement] <= 140  # of 200, five standard deviations
        assert metric((await person.get(f"{service.url}/metrics")).text, "stopwatch_worker_deaths_total") == 1


async def test_a_worker_that_hangs_is_replaced(log: Path, stderr: IO[str], person: httpx2.AsyncClient) -> None:
    with serve(module=QUICK, stderr=stderr) as service:
        (victim,) = await workers_of(service.url, person, 1)
        psutil.Process(victim).suspend()
        await wait_for_lines(log, message="worker replaced")
        (died,) = json_lines(log, message="worker died")
        assert (died["pid"], died["cause"]) == (victim, "a worker does not answer")
        assert await workers_of(service.url, person, 1) != {victim}


async def test_the_fork_server_is_killed(log: Path, stderr: IO[str], person: httpx2.AsyncClient) -> None:
    """Nothing more is known of the workers then: they are replaced, and do not live on beside their successors."""
    with serve(workers=2, backend="none://", stderr=stderr) as service:
        pids = await workers_of(service.url, person)
        workers = [psutil.Process(pid) for pid in pids]
        fork_server = workers[0].parent()
        assert fork_server is not None
        fork_server.kill()
        await wait_for_lines(log, 2, message="worker replaced")
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, DEADLINE_S)
        assert alive == []
        assert not await workers_of(service.url, person) & pids


async def test_the_supervisor_is_killed(
    upstream_url: str, log: Path, stderr: IO[str], person: httpx2.AsyncClient, tmp_path: Path
) -> None:
    """Its workers drain without burning a core, and end; its folder is removed by the next service."""
    with serve(
        upstream_url, workers=2, backend="none://", stderr=stderr, DRAIN_S="1.5", TMPDIR=str(tmp_path)
    ) as service:
        group = psutil.Process(service.process.pid).children(recursive=True)
        workers = [psutil.Process(pid) for pid in await workers_of(service.url, person)]
        body = question("[mock:output_tokens=30000,itl_ms=100]")
        async with person.stream("POST", f"{service.url}/chat/", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            service.process.kill()
            drains = await wait_for_lines(log, 2, message="drain")
            (busy,) = [each for each in workers if each.pid in {line["process"] for line in drains if line["live"]}]
            before_s, began_s, used_s = cpu_s(busy), time.monotonic(), 0.0
            async for _ in lines:
                with suppress(psutil.NoSuchProcess):
                    used_s = cpu_s(busy) - before_s
        assert used_s < 0.05 * (time.monotonic() - began_s)
        _, alive = await asyncio.to_thread(psutil.wait_procs, group, DEADLINE_S)
        assert alive == []
    (left,) = folders(tmp_path)
    with serve(backend="none://", TMPDIR=str(tmp_path)):
        assert left not in folders(tmp_path)
    assert folders(tmp_path) == []


async def test_the_end_of_the_supervisor_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    raised: list[int] = []
    monkeypatch.setattr("multiprocessing.parent_process", lambda: SimpleNamespace(sentinel=read))
    monkeypatch.setattr("signal.raise_signal", raised.append)
    _stop_with_supervisor()
    os.close(write)  # as the kernel does it; what is left stays readable
    async with asyncio.timeout(DEADLINE_S):
        while not raised:  # noqa: ASYNC110 - the signal is replaced by a list
            await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert raised == [signal.SIGTERM]
    os.close(read)


def cpu_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def folders(temporary: Path) -> list[Path]:
    return list(temporary.glob("stopwatch-*"))


async def test_a_stop_while_a_worker_waits_to_be_replaced(log: Path, stderr: IO[str]) -> None:
    with (
        redis_server() as server,
        serve(workers=2, backend=backend_url(server.url), stderr=stderr, ABORT_COMMAND_TIMEOUT_S="0.5") as service,
    ):
        async with httpx2.AsyncClient(limits=NO_KEEP_ALIVE, timeout=DEADLINE_S) as person:
            victim, _ = await workers_of(service.url, person)
        server.kill()
        psutil.Process(victim).kill()
        await wait_for_lines(log, message="worker cannot start")
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.process.wait, DEADLINE_S) == 0


async def test_a_second_signal_ends_the_drain(upstream_url: str, person: httpx2.AsyncClient) -> None:
    with serve(upstream_url, module=QUICK, DRAIN_S="600") as service:
        group = psutil.Process(service.process.pid).children(recursive=True)
        body = question("[mock:output_tokens=30000]")
        async with person.stream("POST", f"{service.url}/chat/", json=body) as answer:
            lines = answer.aiter_lines()
            assert chunks(await anext(lines))
            service.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                while service.process.poll() is None:
                    await asyncio.sleep(0.6)  # one that follows sooner is taken for the same
                    service.process.send_signal(signal.SIGTERM)
        assert service.process.returncode == 0
        _, alive = await asyncio.to_thread(psutil.wait_procs, group, DEADLINE_S)
        assert alive == []
