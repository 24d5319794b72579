"""`python -m bench serve` running, as a person has it in a terminal: for tests that use what it serves."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def serving(*arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The running command, and the lines it greets with."""
    command = [sys.executable, "-u", "-m", "bench", "serve", "--port", "0", *arguments]
    without = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=without | env, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if "wait_ms" in line:
                    break
            yield process, lines
        finally:
            process.kill()


def address(lines: Sequence[str]) -> str:
    """Where it says that its page is."""
    (line,) = [line for line in lines if line.startswith("The page to try it: ")]
    return line.removeprefix("The page to try it: ").rstrip("/")
