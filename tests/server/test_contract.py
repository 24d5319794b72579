"""The OpenAPI document against the service: schemathesis sends what the schema allows and what it forbids."""

import subprocess
import sys
from pathlib import Path

from tests.processes import running
from tests.server.service import serve

# What the schema allows the service must take; which chats are good ones (400) is the upstream's to say, though, and
# an id may be in use (409).
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404, 409]
"""


def test_the_service_conforms_to_its_openapi_document(tmp_path: Path) -> None:
    """tests/slow/server sends more."""
    check_contract(tmp_path, max_examples=10)


def check_contract(tmp_path: Path, *, max_examples: int) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    quick = ("--ttft-ms", "0", "--itl-ms", "0", "--output-tokens", "2")
    with (
        running("mock_llm", "serve", "--port", "0", *quick) as mock,
        serve(mock.url, API_KEYS="the-key", LOG_LEVEL="warning") as service,
    ):
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
            *("run", f"{service.url}/openapi.json", "--max-examples", str(max_examples), "--seed", "1", "--no-color"),
            *("--header", "Authorization: Bearer the-key", "--suppress-health-check=all"),
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
