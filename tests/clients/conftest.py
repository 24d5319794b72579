"""A service of two workers before a mock upstream; CLIENTS_KEEP=1 puts what the clients saw into docs/clients.md."""

import os
from collections.abc import Iterator

import httpx2
import pytest

from tests.clients import results
from tests.clients.rig import MOCK, Rig
from tests.processes import running


@pytest.fixture(scope="package")
def rig(redis_url: str) -> Iterator[Rig]:
    strategy = redis_url.replace("redis://", "redis+push://")
    with (
        running("mock_llm", "serve", "--port", "0", *MOCK) as mock,
        running(
            *("server", "--port", "0", "--workers", "2", "--backend", strategy),
            OPENAI_BASE_URL=f"{mock.url}/v1",
            OPENAI_API_KEY="unused",
            API_KEYS="",
        ) as service,
        httpx2.Client(timeout=20) as http,
    ):
        rig = Rig(service.url, mock.url, http)
        yield rig
    if os.environ.get("CLIENTS_KEEP"):
        results.keep(rig.record)
