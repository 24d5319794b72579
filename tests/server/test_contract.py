"""The OpenAPI document against the service: schemathesis sends what the schema allows and what it forbids."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import running

# What the schema allows the service must take; which chats are good ones (400) is the upstream's to say, though, and
# an id may be in use (409).
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404, 409]
"""


@pytest.mark.timeout(300)  # some thousand requests
def test_the_service_is_what_its_openapi_says(upstream_url: str, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    with running(
        *("server", "--port", "0", "--workers", "1"),
        OPENAI_BASE_URL=f"{upstream_url}/v1",
        API_KEYS="the-key",
        LOG_LEVEL="warning",
    ) as service:
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
            *("run", f"{service.url}/openapi.json", "--max-examples", "30", "--seed", "1", "--no-color"),
            *("--header", "Authorization: Bearer the-key", "--suppress-health-check=all"),
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
