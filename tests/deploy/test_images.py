"""The Dockerfile copies and starts what exists, and no image is taken by a moving tag."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import ROOT, compose, pod_specs

LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", "").splitlines()
ENTRY_POINTS = [json.loads(line.removeprefix("ENTRYPOINT ")) for line in LINES if line.startswith("ENTRYPOINT ")]
HEALTH_CHECKS = [json.loads(line.partition(" CMD ")[2]) for line in LINES if line.startswith("HEALTHCHECK ")]


def copied() -> list[str]:
    """The sources of COPY that come from the build context."""
    words = [line.split() for line in LINES if line.startswith("COPY ") and "--from" not in line]
    return [source for _, *sources, _ in words for source in sources]


def stages() -> set[str]:
    return set(re.findall(r"^FROM .* AS (\w+)$", "\n".join(LINES), re.MULTILINE))


def images() -> list[str]:
    """Every image that is pulled or built."""
    bases = [line.split()[1] for line in LINES if line.startswith("FROM ")]
    pods = [container["image"] for _, pod in pod_specs() for container in pod["containers"]]
    return sorted({*bases, *pods, *(service["image"] for service in compose().values())} - stages())


def test_sources_exist_and_reach_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert set(copied()) == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied())


@pytest.mark.parametrize("command", ENTRY_POINTS, ids=lambda command: command[2])
def test_an_entry_point_runs_on_what_is_copied(command: list[str], tmp_path: Path) -> None:
    for source in copied():
        (tmp_path / source).symlink_to(ROOT / source)
    help_text = subprocess.run(
        [sys.executable, "-P", *command[1:], "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--port" in help_text


@pytest.mark.parametrize("command", HEALTH_CHECKS, ids=["mock", "service"])
def test_a_health_check_is_valid_python(command: list[str]) -> None:
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")


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
