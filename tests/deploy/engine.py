"""The Compose command of this machine, and the project that the tests start with it."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.deploy.files import ROOT

COMMANDS = (("docker", "compose"), ("docker-compose",))


def _is_usable(command: tuple[str, ...]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0


COMMAND = next(filter(_is_usable, COMMANDS), None)


def run_compose(*arguments: str, **environment: str) -> str:
    """Run a Compose command with our file; returns its output, and fails with it."""
    assert COMMAND is not None
    done = subprocess.run(
        [*COMMAND, "--file", str(ROOT / "compose.yaml"), *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def started(*services: str, **environment: str) -> Iterator[str]:
    """Build and start these services, and what they depend on, as a project of its own; yields its name."""
    project = f"stopwatch_{secrets.token_hex(4)}"
    try:
        run_compose("--project-name", project, "up", "--build", "--detach", *services, **environment)
        yield project
    finally:
        run_compose("--project-name", project, "down", "--volumes", "--timeout", "5", **environment)
