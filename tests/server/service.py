"""What tests of a running service share: start one, ask it, and wait for what it does."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import httpx2

from tests.processes import Running, running

DEADLINE_S = 20.0
POLL_S = 0.005
"""Between two requests for state that has no event: without it a waiting test would use a core."""
SILENT = "[mock:ttft_ms=60000]"
NO_KEEP_ALIVE = httpx2.Limits(max_keepalive_connections=0)
"""A new connection for every request, so that any worker may get it."""
NO_TLS = False
"""`verify` of a client that speaks plain HTTP: reading the certificate authorities takes 80 ms of CPU time."""


def serve(
    upstream_url: str = "",
    *arguments: str,
    workers: int = 1,
    backend: str = "memory+push://",
    module: str = "server",
    stderr: IO[str] | None = None,
    open_files: int | None = None,
    **environment: str,
) -> AbstractContextManager[Running]:
    """A service in front of this mock, or of no upstream; `backend` may be a store's URL with its delivery."""
    upstream = {"OPENAI_BASE_URL": f"{upstream_url}/v1"} if upstream_url else {}
    return running(
        *(module, "--port", "0", "--workers", str(workers), "--backend", backend, *arguments),
        stderr=stderr,
        open_files=open_files,
        **upstream | environment,
    )


def strategy(store_url: str, delivery: str = "push") -> str:
    """The backend URL of a store with this delivery."""
    return store_url.replace("://", f"+{delivery}://", 1)


def question(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "mock", "messages": [{"role": "user", "content": text}], **more}


def chunks(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]


async def journal(mock: httpx2.AsyncClient, request_id: str) -> list[dict[str, Any]]:
    """The mock's rows of this chat."""
    return list((await mock.get("/__mock/journal", params={"id": request_id})).json()["rows"])


async def row(mock: httpx2.AsyncClient, request_id: str) -> dict[str, Any]:
    """The mock's row of a chat, once the chat has ended there."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            rows = await journal(mock, request_id)
            if rows and rows[0]["outcome"] != "open":
                return dict(rows[0])
            await asyncio.sleep(POLL_S)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Ask again until the answer is true."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 - see POLL_S
            await asyncio.sleep(POLL_S)


def readyz(client: httpx2.AsyncClient, status: int) -> Callable[[], Awaitable[bool]]:
    """A condition for `until`: /readyz answers with this status."""

    async def has_status() -> bool:
        return (await client.get("/readyz")).status_code == status

    return has_status


def metric(text: str, name: str) -> float:
    """The sum of the samples whose lines begin with this name."""
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def json_lines(file: Path, **wanted: object) -> list[dict[str, Any]]:
    """The whole JSON lines of a log or trace that have these values."""
    lines = (line for line in file.read_text().splitlines() if line.startswith("{") and line.endswith("}"))
    return [line for line in map(json.loads, lines) if all(line.get(key) == value for key, value in wanted.items())]


async def wait_for_lines(file: Path, count: int = 1, **wanted: object) -> list[dict[str, Any]]:
    """`json_lines`, once there are as many."""
    async with asyncio.timeout(DEADLINE_S):
        while len(lines := json_lines(file, **wanted)) < count:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)
    return lines


async def workers_of(url: str, person: httpx2.AsyncClient, wanted: int = 2) -> set[int]:
    pids: set[int] = set()
    async with asyncio.timeout(DEADLINE_S):
        while len(pids) < wanted:
            pids.add((await person.get(f"{url}/healthz")).json()["pid"])
    return pids
