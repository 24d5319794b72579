"""The supervisor when workers die or cannot be replaced, and when it is killed."""

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import httpx2
import psutil
import pytest

from bench.system.servers import redis_server
from server.app import _stop_with_supervisor
from server.process.supervisor import SECOND_SIGNAL_S
from tests.server.service import (
    DEADLINE_S,
    NO_KEEP_ALIVE,
    chunks,
    json_lines,
    metric,
    question,
    serve,
    wait_for_lines,
    workers_of,
)
from tests.server.service import strategy as backend_url

QUICK = "tests.server.shorter_limits"
"""`python -m server` whose supervisor waits less."""


@dataclass
class Pair:
    """A service of two workers, and its log."""

    url: str
    log: Path

    async def deaths(self, person: httpx2.AsyncClient) -> float:
        return metric((await person.get(f"{self.url}/metrics")).text, "stopwatch_worker_deaths_total")

    def replaced(self) -> int:
        """How many replacements have been logged so far."""
        return len(json_lines(self.log, message="worker replaced"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """For tests that end with two workers again."""
    log = tmp_path_factory.mktemp("pair") / "log"
    with log.open("w") as stderr, serve(module=QUICK, workers=2, backend="none://", stderr=stderr) as service:
        yield Pair(service.url, log)


async def test_a_replacement_has_the_dead_workers_socket(pair: Pair, person: httpx2.AsyncClient) -> None:
    """It gets its share of new connections and no more, and those that waited for the dead worker are not lost."""
    victim, other = sorted(await workers_of(pair.url, person))
    deaths, replaced = await pair.deaths(person), pair.replaced()
    psutil.Process(victim).suspend()  # accepts nothing, so that what the kernel gives it waits
    host, port = pair.url.removeprefix("http://").split(":")
    waiting = [socket.create_connection((host, int(port)), timeout=DEADLINE_S) for _ in range(30)]
    for connection in waiting:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    psutil.Process(victim).kill()
    answers = [await asyncio.to_thread(connection.recv, 65536) for connection in waiting]
    for connection in waiting:
        connection.close()
    assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 30
    replacement = (await wait_for_lines(pair.log, replaced + 1, message="worker replaced"))[-1]["pid"]
    asked = Counter([(await person.get(f"{pair.url}/healthz")).json()["pid"] for _ in range(200)])
    assert set(asked) == {other, replacement}
    assert 60 <= asked[replacement] <= 140  # of 200, five standard deviations
    assert await pair.deaths(person) == deaths + 1


async def test_a_worker_that_hangs_is_replaced(pair: Pair, person: httpx2.AsyncClient) -> None:
    victim, _ = await workers_of(pair.url, person)
    replaced = pair.replaced()
    psutil.Process(victim).suspend()
    await wait_for_lines(pair.log, replaced + 1, message="worker replaced")
    died = json_lines(pair.log, message="worker died")[-1]
    assert (died["pid"], died["cause"]) == (victim, "a worker does not answer")
    assert victim not in await workers_of(pair.url, person)


async def test_the_fork_server_is_killed(pair: Pair, person: httpx2.AsyncClient) -> None:
    """The workers' state is unknown then: they are replaced, and do not live on beside their successors."""
    pids = await workers_of(pair.url, person)
    workers, replaced = [psutil.Process(pid) for pid in pids], pair.replaced()
    fork_server = workers[0].parent()
    assert fork_server is not None
    fork_server.kill()
    await wait_for_lines(pair.log, replaced + 2, message="worker replaced")
    _, alive = await asyncio.to_thread(psutil.wait_procs, workers, DEADLINE_S)
    assert alive == []
    assert not await workers_of(pair.url, person) & pids


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
        serve(workers=2, backend=backend_url(server.url), stderr=stderr, ABORT_COMMAND_TIMEOUT_S="2") as service,
    ):
        async with httpx2.AsyncClient(limits=NO_KEEP_ALIVE, timeout=DEADLINE_S) as person:
            victim, _ = await workers_of(service.url, person)
        server.kill()
        psutil.Process(victim).kill()
        await wait_for_lines(log, message="worker cannot start")
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.process.wait, DEADLINE_S) == 0


async def test_a_second_signal_ends_the_drain(
    upstream_url: str, log: Path, stderr: IO[str], person: httpx2.AsyncClient
) -> None:
    with serve(upstream_url, module=QUICK, stderr=stderr, DRAIN_S="600") as service:
        group = psutil.Process(service.process.pid).children(recursive=True)
        body = question("[mock:output_tokens=30000]")
        async with person.stream("POST", f"{service.url}/chat/", json=body) as answer:
            lines = answer.aiter_lines()
            assert chunks(await anext(lines))
            service.process.send_signal(signal.SIGTERM)
            await wait_for_lines(log, message="drain")
            await asyncio.sleep(SECOND_SIGNAL_S + 0.1)  # one that follows sooner is taken for the same
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, DEADLINE_S) == 0
        _, alive = await asyncio.to_thread(psutil.wait_procs, group, DEADLINE_S)
        assert alive == []
