"""Run git on one repository: no hooks, no filters, and none of the variables that point it at another repository."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

KEPT = ("GIT_CONFIG_", "GIT_SSH", "GIT_SSL_", "GIT_ASKPASS", "GIT_EXEC_PATH")
"""How git finds its own programs, credentials and settings. All other GIT_* variables are dropped: a hook, an alias or
`git rebase --exec` sets GIT_DIR, GIT_INDEX_FILE, GIT_WORK_TREE and more, each of which names another repository."""
DROPPED = "GIT_CONFIG_PARAMETERS"  # the `-c` options of an outer git command
SETTINGS = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "filter.lfs.smudge=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
)
"""A checkout for a measurement runs no program of the repository or its user, and downloads no large files."""


class GitError(Exception):
    """git failed; the message is one line and includes git's own."""


def git(folder: Path, *arguments: str, config: Mapping[str, str] | None = None) -> str:
    """Run git in `folder` and return its output, stripped. `config` is passed as `-c`. Raises GitError."""
    options = [*OPTIONS, *(f"{name}={value}" for name, value in (config or {}).items())]
    command = ["git", "-C", str(folder), *(part for option in options for part in ("-c", option)), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment())
    except FileNotFoundError as error:
        raise GitError("git is not installed: the gate needs it to check out base and head") from error
    if done.returncode:
        output = " ".join((done.stderr or done.stdout).split())
        raise GitError(f"git {arguments[0]} failed: {output or f'exit code {done.returncode}'}")
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """The environment for git."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or (k.startswith(KEPT) and k != DROPPED)}
    return kept | SETTINGS
