"""The locustfile of a fleet: its Master or Worker does the work, and the user that Locust wants does none."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from locust import User, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

from bench.load.fleet.master import Master
from bench.load.fleet.protocol import FOLDER
from bench.load.fleet.worker import Worker


class Idle(User):
    """Does nothing."""

    wait_time = constant(3600)

    @task
    def nothing(self) -> None:
        """Do nothing."""


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, **_: Any) -> None:
    """Serve as what Locust has made this process."""
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        Master(runner)
    elif isinstance(runner, WorkerRunner):
        # On the master's machine in its folder, which is deleted with the run.
        folder = Path(tempfile.mkdtemp(prefix="bench-rows-", dir=os.environ.get(FOLDER)))
        atexit.register(_clear, folder)
        Worker(runner, folder)


def _clear(folder: Path) -> None:
    """Delete the folder, unless the master does not have the rows in it."""
    if any(folder.iterdir()):
        sys.stderr.write(f"bench: rows that the master did not acknowledge are kept in {folder}\n")
    else:
        shutil.rmtree(folder)
