"""compose.yaml runs: aborts stop chats of all containers. Needs STORES=docker and an engine; builds the images."""

import asyncio
import os
from collections.abc import Iterator

import httpx2
import pytest

from bench.system.embedded import free_port
from tests.deploy.engine import COMMAND, run_compose, started
from tests.deploy.ready import is_ready
from tests.server.service import DEADLINE_S, NO_KEEP_ALIVE, NO_TLS, SILENT, question

CHATS = 8
pytestmark = [
    pytest.mark.skipif(os.environ.get("STORES") != "docker", reason="needs a Docker engine: set STORES=docker"),
    pytest.mark.skipif(COMMAND is None, reason="there is no docker compose"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module", params=["redis+push://redis:6379/0", "postgres+push://postgres@postgres:5432/postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Two containers of the service behind the load balancer."""
    port = free_port()
    environment = {"STOPWATCH_PORT": str(port), "ABORT_BACKEND": request.param}
    with started("--scale", "service=2", "load-balancer", **environment) as project:
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx2.Client(base_url=url, verify=NO_TLS) as client:
                while not is_ready(client):
                    pass
            yield url
        finally:
            print(run_compose("--project-name", project, "logs", "--no-color", **environment))  # noqa: T201


async def test_aborts_stop_chats_of_all_containers(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=DEADLINE_S, limits=NO_KEEP_ALIVE, verify=NO_TLS) as client:
        workers: set[str] = set()

        async def chat_and_stop(name: str) -> None:
            async with client.stream("POST", "/chat/", json=question(SILENT, request_id=name)) as answer:
                assert answer.status_code == 200
                stopped = await client.post("/abort/", json={"request_id": name, "wait_ms": 5000})
                assert stopped.json()["status"] == "stopped"
                workers.add(stopped.headers["x-worker"])
                assert '"finish_reason":"abort"' in (await answer.aread()).decode()

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for number in range(CHATS):
                tasks.create_task(chat_and_stop(f"chat-{number}"))
        assert len(workers) > 1
