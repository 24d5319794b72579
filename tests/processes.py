"""Start our servers as processes, for tests that need a real socket."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

STOP_DEADLINE_S = 15


@dataclass
class Running:
    url: str
    process: subprocess.Popen[str]


@contextmanager
def running(
    *arguments: str, stderr: IO[str] | None = None, open_files: int | None = None, **environment: str
) -> Iterator[Running]:
    """Run `python -m <arguments>` from its `ready` line to the end of the block.

    `open_files` is the hard limit of open files; `environment` is added to this process's own.
    """
    limited = () if open_files is None else ("sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh")
    process = subprocess.Popen(
        [*limited, sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), f"{arguments[0]} did not start: {line!r}"
        yield Running(line.split()[1], process)
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_DEADLINE_S)
    finally:
        process.stdout.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
