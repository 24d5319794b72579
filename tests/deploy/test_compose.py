"""compose.yaml is valid, publishes on loopback only, and contains no secret."""

from typing import Any

import pytest

from backends.store_url import StoreUrl
from server.settings import Settings
from tests.deploy.engine import COMMAND, run_compose
from tests.deploy.files import ROOT, compose

SERVICES = compose()


@pytest.mark.skipif(COMMAND is None, reason="there is no docker-compose (Debian: apt-get install docker-compose)")
def test_it_is_valid() -> None:
    run_compose("config", "--quiet")


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_come_from_the_environment() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "KEY", "SECRET", "TOKEN")):
                assert value == f"${{{name}:-}}"


def test_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, mode = volume.split(":")
            assert (ROOT / source).exists()
            assert mode == "ro"


def test_the_services_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES["service"]["environment"]
    for name in environment:
        assert name.lower() in Settings.model_fields
        monkeypatch.delenv(name, raising=False)
    values: dict[str, Any] = {name.lower(): _default(value) for name, value in environment.items()}
    settings = Settings(**values)
    assert StoreUrl.parse(settings.abort_backend.get_secret_value()).address.split(":")[0] in SERVICES
    assert settings.openai_base_url == "http://mock:9000/v1"


def test_a_stopped_container_may_drain() -> None:
    assert float(SERVICES["service"]["stop_grace_period"].removesuffix("s")) > Settings().drain_s + 5


def _default(value: str) -> str:
    """The value without the variable: `${NAME:-default}`."""
    return value.partition(":-")[2].removesuffix("}") if value.startswith("${") else value
