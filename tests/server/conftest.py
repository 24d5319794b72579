"""A service of two workers before a mock upstream, as processes on real sockets."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import httpx2
import openai
import pytest
import respx
from pydantic import SecretStr

import tests.server.respx_httpcore2  # noqa: F401 - registers the mocker with respx
from server.relay.upstream_client import make_client
from server.settings import Settings
from tests.processes import running
from tests.server import guarded
from tests.server.service import DEADLINE_S, NO_KEEP_ALIVE, NO_TLS, serve, strategy


@pytest.fixture(scope="session")
def upstream_url() -> Iterator[str]:
    """The mock: 20 ms to the first token and between tokens, 50 tokens, unless the message says otherwise."""
    with running(
        "mock_llm", "serve", "--port", "0", "--ttft-ms", "20", "--itl-ms", "20", "--output-tokens", "50"
    ) as mock:
        yield mock.url


@pytest.fixture(scope="session")
def trace_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trace")


@pytest.fixture(scope="session")
def service_url(upstream_url: str, redis_url: str, trace_dir: Path) -> Iterator[str]:
    """Two workers with Redis, no API keys; many tests wait for the headers of a silent upstream."""
    with serve(
        upstream_url,
        workers=2,
        backend=strategy(redis_url),
        OPENAI_API_KEY="sk-a-secret",
        TRACE_DIR=str(trace_dir),
        HEADERS_GRACE_S="0.1",
        ALLOWED_HOSTS="chat.example.com,*.example.org",
    ) as service:
        yield service.url


@pytest.fixture(scope="session")
def guarded_url(upstream_url: str) -> Iterator[str]:
    """One worker with API keys, an allowed origin and low limits: see `tests.server.guarded`."""
    with serve(
        upstream_url,
        OPENAI_API_KEY="sk-a-secret",
        API_KEYS="alice-key, bob-key",
        CORS_ORIGINS=f"{guarded.PAGE}/, http://LOCALHOST:3000",
        MAX_CHATS_PER_OWNER="2",
        MAX_BODY_BYTES=str(guarded.MAX_BODY_BYTES),
        REQUEST_DEADLINE_S=str(guarded.REQUEST_DEADLINE_S),
    ) as service:
        yield service.url


@pytest.fixture
async def service(service_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service with a new connection for every request, so that any worker may get it."""
    async with httpx2.AsyncClient(
        base_url=service_url, limits=NO_KEEP_ALIVE, timeout=DEADLINE_S, verify=NO_TLS
    ) as client:
        yield client


@pytest.fixture
async def guarded_service(guarded_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=guarded_url, timeout=DEADLINE_S, verify=NO_TLS) as client:
        yield client


@pytest.fixture
async def mock(upstream_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=upstream_url, timeout=20, verify=NO_TLS) as client:
        yield client


@pytest.fixture
def request_id(request: pytest.FixtureRequest) -> str:
    return f"{os.urandom(4).hex()}-{request.node.name}"[:100].replace(" ", "")


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(using="httpcore2", assert_all_called=False) as mock:
        yield mock


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    settings = Settings(openai_base_url="http://upstream.test/v1", openai_api_key=SecretStr("sk-a-secret"))
    # The same client on httpx2's own transport, which the mocker sees; aiohttp's is tested against real sockets.
    real = make_client(settings)
    async with real, real.copy(http_client=httpx2.AsyncClient(verify=NO_TLS)) as one:
        yield one


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
    async with httpx2.AsyncClient(limits=NO_KEEP_ALIVE, timeout=DEADLINE_S, verify=NO_TLS) as client:
        yield client
