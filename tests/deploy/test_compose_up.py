"""compose.yaml runs: aborts stop chats of all containers, and Prometheus reads each one's metrics.

Needs STORES=docker and an engine; builds the images.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from bench.system.embedded import free_port
from tests.deploy.engine import COMMAND, run_compose, started
from tests.deploy.files import alerts
from tests.deploy.ready import is_ready
from tests.server.service import DEADLINE_S, NO_KEEP_ALIVE, NO_TLS, SILENT, question

CHATS = 8
pytestmark = [
    pytest.mark.skipif(os.environ.get("STORES") != "docker", reason="needs a Docker engine: set STORES=docker"),
    pytest.mark.skipif(COMMAND is None, reason="there is no docker compose"),
    pytest.mark.timeout(600),
]


@dataclass
class Composed:
    """Two containers of the service behind the load balancer."""

    url: str
    prometheus_url: str


@pytest.fixture(scope="module", params=["redis+push://redis:6379/0", "postgres+push://postgres@postgres:5432/postgres"])
def composed(request: pytest.FixtureRequest) -> Iterator[Composed]:
    port, prometheus_port = free_port(), free_port()
    environment = {
        "STOPWATCH_PORT": str(port),
        "PROMETHEUS_PORT": str(prometheus_port),
        "ABORT_BACKEND": request.param,
    }
    with started("--scale", "service=2", "load-balancer", "prometheus", **environment) as project:
        one = Composed(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prometheus_port}")
        try:
            with httpx2.Client(base_url=one.url, verify=NO_TLS) as client:
                while not is_ready(client):
                    pass
            yield one
        finally:
            print(run_compose("--project-name", project, "logs", "--no-color", **environment))  # noqa: T201


async def test_aborts_stop_chats_of_all_containers(composed: Composed) -> None:
    async with httpx2.AsyncClient(
        base_url=composed.url, timeout=DEADLINE_S, limits=NO_KEEP_ALIVE, verify=NO_TLS
    ) as client:
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


async def test_prometheus_reads_every_container(composed: Composed) -> None:
    async with httpx2.AsyncClient(base_url=composed.prometheus_url, timeout=DEADLINE_S, verify=NO_TLS) as prometheus:

        async def values(query: str) -> list[str]:
            try:
                answer = await prometheus.get("/api/v1/query", params={"query": query})
            except httpx2.TransportError:  # not listening yet
                return []
            return [each["value"][1] for each in answer.json()["data"]["result"]]

        async with asyncio.timeout(60):  # it looks the containers up, and reads them, every 5 s
            for query, value in (("stopwatch_listener_ready", "1"), ("stopwatch_open_upstreams", "0")):
                while await values(query) != [value, value]:
                    pass
        assert {rule["alert"] for rule in alerts()} == set(await alert_names(prometheus))


async def alert_names(prometheus: httpx2.AsyncClient) -> list[str]:
    """The rules that Prometheus has loaded."""
    groups = (await prometheus.get("/api/v1/rules")).json()["data"]["groups"]
    return [rule["name"] for group in groups for rule in group["rules"]]
