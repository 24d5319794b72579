"""Base and head as git worktrees in a temporary folder, so that what is measured is what was committed."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.embedded import temporary_folder

ROOT = Path(__file__).parent.parent
LOCK = "requirements.lock"


class GitError(Exception):
    """The two states cannot be made; the message is one line: cause and next step."""


@contextlib.contextmanager
def worktrees(base: str, head: str = "HEAD") -> Iterator[tuple[Path, Path]]:
    """Check both refs out side by side; they are gone afterwards. Raises GitError for a ref that is none."""
    commits = [commit_of(ref) for ref in (base, head)]
    with temporary_folder("regress") as scratch:
        folders = (scratch / "base", scratch / "head")
        try:
            for folder, commit in zip(folders, commits, strict=True):
                _git("worktree", "add", "--detach", "--quiet", str(folder), commit)
            yield folders
        finally:
            for folder in folders:
                with contextlib.suppress(GitError):
                    _git("worktree", "remove", "--force", str(folder))
            with contextlib.suppress(GitError):
                _git("worktree", "prune")  # of a run that was killed, too


def commit_of(ref: str) -> str:
    """The commit a ref names. Raises GitError."""
    if not ref or ref.startswith("-"):
        raise GitError(f"BASE is {ref!r}: name a git ref, for example BASE=origin/main")
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    except GitError:
        raise GitError(
            f"BASE {ref!r} is no commit here: name a git ref, and fetch it first (git fetch --unshallow)"
        ) from None


def notes_on(folders: tuple[Path, Path]) -> list[str]:
    """What a reader of the comparison should know about the two states."""
    notes = []
    base, head = ((folder / LOCK).read_bytes() if (folder / LOCK).exists() else b"" for folder in folders)
    if base != head:
        notes.append(f"{LOCK} differs: both sides ran with the packages that are installed here")
    if _git("status", "--porcelain", "--untracked-files=no"):
        notes.append("uncommitted changes are not part of head: commit them to have them measured")
    return notes


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError as error:
        raise GitError("git is not installed: the gate needs it to check out base and head") from error
    except subprocess.CalledProcessError as error:
        raise GitError(f"git {arguments[0]} failed: {' '.join(error.stderr.split())}") from error
