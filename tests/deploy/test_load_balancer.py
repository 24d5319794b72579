"""HAProxy with our configuration: chats stream, aborts cross it, and a hang-up reaches the upstream at once."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from bench.system.embedded import free_port
from tests.deploy.files import DEPLOY
from tests.deploy.ready import is_ready
from tests.processes import running
from tests.server.service import DEADLINE_S, NO_TLS, SILENT, question, row, serve

CONFIGURATION = DEPLOY / "haproxy.cfg"
HAPROXY = shutil.which("haproxy")
pytestmark = pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy (Debian: apt-get install haproxy)")


@pytest.fixture(scope="module")
def mock_url() -> Iterator[str]:
    with running("mock_llm", "serve", "--port", "0") as mock:
        yield mock.url


@pytest.fixture(scope="module")
def balancer_url(mock_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A load balancer before one service, where the engine's DNS would name its containers."""
    port = free_port()
    with serve(mock_url) as service:
        text = CONFIGURATION.read_text()
        address = service.url.removeprefix("http://")
        for ours, here in (
            ("bind :8000", f"bind 127.0.0.1:{port}"),
            ("server-template service 32 service:8000", f"server service {address}"),
            (" init-addr none resolvers engine", ""),
        ):
            assert ours in text
            text = text.replace(ours, here)
        file = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
        file.write_text(text)
        process = subprocess.Popen([str(HAPROXY), "-db", "-f", str(file)], stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            with httpx2.Client(base_url=url, verify=NO_TLS) as probe:
                while not is_ready(probe):
                    assert process.poll() is None, "haproxy ended: its output says why"
            yield url
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


@pytest.fixture
def client(balancer_url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=balancer_url, timeout=DEADLINE_S, verify=NO_TLS)


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(CONFIGURATION)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


async def test_an_abort_crosses_the_balancer(client: httpx2.AsyncClient) -> None:
    async with client, client.stream("POST", "/chat/", json=question(SILENT, request_id="abort")) as answer:
        stopped = await client.post("/abort/", json={"request_id": "abort", "wait_ms": 5000})
        assert stopped.json()["status"] == "stopped"
        assert '"finish_reason":"abort"' in (await answer.aread()).decode()


async def test_a_hang_up_during_silence_reaches_the_upstream(client: httpx2.AsyncClient, mock_url: str) -> None:
    async with client:
        async with client.stream("POST", "/chat/", json=question(SILENT, request_id="hangup")):
            pass
        # Well before the service's next keep-alive comment, whose failure would reveal the hang-up, too.
        async with asyncio.timeout(DEADLINE_S / 2), httpx2.AsyncClient(base_url=mock_url, verify=NO_TLS) as mock:
            assert (await row(mock, "hangup"))["outcome"] == "cut"


async def test_metrics_are_not_public(client: httpx2.AsyncClient) -> None:
    async with client:
        assert (await client.get("/metrics")).status_code == 404
