"""The code that this process runs: the imported file, and the commit of its checkout."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 2.0


class Revision(NamedTuple):
    """`module`: absolute path of the `server` package's file. `commit`: null if no git checkout tracks that file.

    Uncommitted changes do not change `commit`.
    """

    module: str
    commit: str | None


@cache
def revision() -> Revision:
    """Return the revision; the first call runs git, which takes some milliseconds."""
    module = Path(__file__).resolve().parent.parent / "__init__.py"
    return Revision(str(module), _commit_of(module))


def _commit_of(file: Path) -> str | None:
    # The second name fails unless HEAD contains the file: an environment inside a checkout is not its code.
    command = ["git", "-C", str(file.parent), "rev-parse", "HEAD", f"HEAD:./{file.name}"]
    # In a git hook, GIT_DIR and similar variables name another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and a path of our own
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
            env=env,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split()[0]
