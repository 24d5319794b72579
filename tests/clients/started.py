"""Starts a client as a process with a clean environment, and ends it with everything that it started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.clients.environments import ROOT

DEADLINE_S = 60
"""For a client to start, which takes seconds, and to end: one that asks again waits for a whole answer."""
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it is fetched at the import
    "LITELLM_TELEMETRY": "False",
    "OPENAI_API_KEY": "unused",
}
"""The clients' telemetry is off. Nothing else comes from the caller's environment but PATH."""
_STDERR_CHARACTERS = 2000


@contextlib.contextmanager
def started(command: Sequence[str], folder: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    """The process, in a session and with a home folder of its own; SIGKILL for the whole group ends the block.

    An AssertionError in the block gets the end of what the process wrote to stderr as a note.
    """
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", **QUIET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process
        except AssertionError as error:
            stderr.seek(0)
            error.add_note(stderr.read().decode(errors="replace")[-_STDERR_CHARACTERS:])
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    """Return the first line of its standard output. Raises AssertionError when none arrives in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(DEADLINE_S), f"the client has written nothing in {DEADLINE_S} s"
    line = process.stdout.readline()
    assert line, "the client ended without reporting what it saw"
    return line


def leave(process: subprocess.Popen[bytes]) -> None:
    """Close its standard input, which tells it to end, and wait for that."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(DEADLINE_S)
