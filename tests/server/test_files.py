"""Few open files: chats are refused first, so that Stops and health always find a descriptor."""

import asyncio
import os
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import IO

import httpx2
import pytest

from server.process.descriptors import LOW_CHATS, budget
from tests.server.harness import Client, stage
from tests.server.service import SILENT, question, serve

LIMIT, CHATS = 256, 300


@pytest.fixture(scope="module")
def log() -> Iterator[IO[str]]:
    with tempfile.TemporaryFile("w+") as file:
        yield file


@pytest.fixture(scope="module")
def narrow_url(upstream_url: str, log: IO[str]) -> Iterator[str]:
    with serve(upstream_url, open_files=LIMIT, stderr=log) as service:
        yield service.url


async def test_300_chats_with_256_files(narrow_url: str, log: IO[str]) -> None:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        AsyncExitStack() as chats,
        httpx2.AsyncClient(base_url=narrow_url, limits=limits, timeout=60) as client,
    ):

        async def chat(number: int, path: str = "/chat/") -> httpx2.Response:
            body = question(SILENT, request_id=f"narrow-{number}", stream=path == "/chat/")
            request = client.build_request("POST", path, json=body)
            answer = await client.send(request, stream=True)
            chats.push_async_callback(answer.aclose)
            return answer

        answers = await asyncio.gather(*map(chat, range(CHATS)))
        counted = Counter(answer.status_code for answer in answers)
        assert set(counted) == {200, 503}
        assert 50 < counted[200] < LIMIT / 2
        refused = [answer for answer in answers if answer.status_code == 503]
        assert all(answer.headers["retry-after"] for answer in refused)
        await refused[0].aread()
        assert "file descriptors" in refused[0].json()["error"]["message"]
        whole = await chat(CHATS, "/v1/chat/completions")
        await whole.aread()
        assert (whole.status_code, whole.json()["error"]["type"]) == (503, "refused")

        # Full, with further connections that send no request.
        address = narrow_url.removeprefix("http://").split(":")
        silent = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(100)))
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200
        for number in (number for number, answer in enumerate(answers) if answer.status_code == 200):
            abort = await client.post("/abort/", json={"request_id": f"narrow-{number}"})
            assert abort.json()["status"] == "accepted"
            break
        assert (await chat(CHATS + 1)).status_code == 200  # there is room for one again
        for _, writer in silent:
            writer.close()
    log.seek(0)
    said = log.read()
    assert f"server: warning: the limit of {LIMIT} open files allows" in said
    assert "ulimit -n" in said.splitlines()[0]
    assert "No file descriptors for another chat" in said
    assert "Traceback" not in said


async def test_no_descriptor_for_the_upstream_is_a_503(caplog: pytest.LogCaptureFixture) -> None:
    async with stage() as scene:
        scene.store.free.set()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            await scene.chat(client := Client())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert client.status == 503
    assert b"file descriptors" in client.body
    assert "no file descriptor left" in caplog.text


def test_a_high_limit_gives_no_warning() -> None:
    given = budget(used=40)
    assert (given.warning() is None) == (given.chats >= LOW_CHATS)
    assert 2 * given.chats + 40 < given.limit
    assert given.connections + given.chats + 40 < given.limit
