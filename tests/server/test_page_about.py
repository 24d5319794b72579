"""GET /page/about: what the page may show of the service."""

import pytest
from pydantic import SecretStr

from server.settings import Settings
from tests.server.harness import in_process

KEYS = SecretStr("a-key")


@pytest.mark.parametrize(
    ("settings", "upstream"),
    [
        (Settings(openai_base_url="http://user:secret@upstream.test:9/v1"), "upstream.test"),
        (Settings(openai_base_url="http://upstream.test:9/v1", api_keys=KEYS), None),
        (Settings(api_keys=KEYS, upstream_note="a mock"), "a mock"),
        (Settings(upstream_note="a mock"), "a mock"),
    ],
)
async def test_the_upstreams_host_is_for_services_without_keys(settings: Settings, upstream: str | None) -> None:
    async with in_process(settings) as client:
        about = (await client.get("/page/about")).json()
    assert about == {"strategy": "memory-push", "workers": 1, "upstream": upstream}
