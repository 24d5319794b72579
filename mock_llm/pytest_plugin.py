"""Pytest fixtures: the mock as a process per test session (or xdist worker), and a witness per test."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mock_llm.witness import Witness

# Longer than any limit of a test: a service that does not stop must not look as if its chat had ended by itself.
_OUTPUT_TOKENS = "1000"
_STOP_S = 10


@pytest.fixture(scope="session")
def witness_url() -> Iterator[str]:
    """The mock's address without a trailing slash; its MOCK_* environment variables are this process's own.

    A process, not a thread: a test that blocks its event loop cannot delay the mock's timestamps.
    """
    command = [sys.executable, "-m", "mock_llm", "serve", "--host", "127.0.0.1", "--port", "0"]
    environment = {"MOCK_OUTPUT_TOKENS": _OUTPUT_TOKENS} | os.environ
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603 -- ours
        try:
            assert process.stdout is not None  # noqa: S101 -- for mypy: a pipe was requested
            line = process.stdout.readline()
            if not line.startswith("ready "):
                pytest.fail("the mock did not start; see its error in the captured stderr", pytrace=False)
            yield line.split()[1]
            process.terminate()
            process.wait(_STOP_S)
        finally:
            process.kill()


@pytest.fixture
def witness(witness_url: str) -> Witness:
    """A mock OpenAI server (`witness.base_url`) that sees only the chats of this test; see docs/witness.md."""
    witness = Witness(witness_url)
    witness.clear()
    return witness
