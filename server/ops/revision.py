"""Which code this process runs: the file that was imported, and the commit of the checkout it lies in."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

DEADLINE_S = 2.0


class Revision(NamedTuple):
    """`module`: absolute path of the `server` package's file. `commit`: null where no git checkout tracks that file.

    Uncommitted changes do not show in `commit`.
    """

    module: str
    commit: str | None


@cache
def revision() -> Revision:
    """Look once, when the worker starts: it runs git, which takes some milliseconds."""
    module = Path(__file__).resolve().parent.parent / "__init__.py"
    return Revision(str(module), _commit_of(module))


def _commit_of(file: Path) -> str | None:
    # The second name fails unless HEAD holds the file: an environment that was made inside a checkout is not its code.
    command = ["git", "-C", str(file.parent), "rev-parse", "HEAD", f"HEAD:./{file.name}"]
    # In a hook GIT_DIR and its like name another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and a path of our own
            command, capture_output=True, text=True, check=True, timeout=DEADLINE_S, env=env, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split()[0]
