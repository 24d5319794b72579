"""The Dockerfile copies and starts what exists, and no image is taken by a moving tag."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import ROOT, compose, pod_specs
from tests.processes import running
from tests.server.service import serve


def copied(lines: list[str]) -> list[str]:
    """The sources of COPY that come from the build context."""
    words = [line.split() for line in lines if line.startswith("COPY ") and "--from" not in line]
    return [source for _, *sources, _ in words for source in sources]


LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
STAGES = re.findall(r"^FROM \S+ AS ([\w-]+)\n(.*?)(?=^FROM |\Z)", "\n".join(LINES), re.MULTILINE | re.DOTALL)
ENTRY_POINTS = {
    name: (copied(lines), json.loads(line.removeprefix("ENTRYPOINT ")))
    for name, lines in ((name, text.splitlines()) for name, text in STAGES)
    for line in lines
    if line.startswith("ENTRYPOINT ")
}
"""Stage -> what it copies from the build context, and its command."""


def images() -> list[str]:
    """Every image that is pulled or built."""
    bases = [line.split()[1] for line in LINES if line.startswith("FROM ")]
    pods = [container["image"] for _, pod in pod_specs() for container in pod["containers"]]
    return sorted({*bases, *pods, *(service["image"] for service in compose().values())} - dict(STAGES).keys())


def test_sources_exist_and_reach_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert set(copied(LINES)) == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied(LINES))


@pytest.mark.parametrize(("sources", "command"), ENTRY_POINTS.values(), ids=ENTRY_POINTS)
def test_an_entry_point_runs_on_what_its_stage_copies(sources: list[str], command: list[str], tmp_path: Path) -> None:
    for source in sources:
        (tmp_path / source).symlink_to(ROOT / source)
    help_text = subprocess.run(
        [sys.executable, "-P", *command[1:], "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "usage" in help_text.lower()


def is_healthy(stage: str, url: str) -> bool:
    """Run this stage's health check against the server at `url`."""
    (check,) = (line for line in dict(STAGES)[stage].splitlines() if line.startswith("HEALTHCHECK "))
    _, *arguments = json.loads(check.partition(" CMD ")[2])
    port = url.rpartition(":")[2]
    environment = os.environ | {"PORT": port, "MOCK_PORT": port}
    return (
        subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False).returncode == 0
    )


def test_a_health_check_passes_while_its_server_runs() -> None:
    with running("mock_llm", "serve", "--port", "0") as mock, serve(mock.url) as service:
        assert is_healthy("mock", mock.url)
        assert is_healthy("service", service.url)
        assert not is_healthy("service", mock.url)  # another answer than 200
    assert not is_healthy("mock", mock.url)
    assert not is_healthy("service", service.url)


@pytest.mark.parametrize("image", images())
def test_an_image_has_a_version(image: str) -> None:
    _, _, tag = image.rpartition("/")[2].partition(":")
    assert re.match(r"v?\d", tag), image


def test_images_run_without_root() -> None:
    assert "USER 10001:10001" in LINES


def test_the_lock_holds_the_services_packages_only() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-service.lock").read_text(), re.MULTILINE))
    assert {"asyncpg", "fastapi", "hiredis", "redis", "uvloop"} <= locked
    assert not {"locust", "opentelemetry-sdk", "pytest", "scipy"} & locked
