"""Base and head as git worktrees in a temporary folder, so that what is measured is what was committed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from bench.gate.base_commit import ROOT, commit_of
from bench.system.embedded import temporary_folder
from bench.system.git import GitError, git

LOCK, SERVICE = "requirements.lock", "server"
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
MOST_NAMED = 3


@contextlib.contextmanager
def worktrees(base: str, head: str = "HEAD", *, repository: Path = ROOT) -> Iterator[tuple[Path, Path]]:
    """Check both refs out side by side; they are gone afterwards.

    `repository` is the folder of a checkout in which the service lies, its top or below: so are the folders that are
    given. Raises GitError for a ref that is none, and for one without the service.
    """
    commits = [commit_of(ref, repository) for ref in (base, head)]
    below = git(repository, "rev-parse", "--show-prefix")
    with temporary_folder("regress") as scratch:
        folders = (scratch / "base", scratch / "head")
        try:
            for folder, commit in zip(folders, commits, strict=True):
                git(repository, "worktree", "add", "--detach", "--quiet", str(folder), commit)
                if not (folder / below / SERVICE).is_dir():
                    raise GitError(f"{commit[:7]} has no {below}{SERVICE}/, so there is no service to measure")
            yield folders[0] / below, folders[1] / below
        finally:
            for folder in folders:
                with contextlib.suppress(GitError):
                    git(repository, "worktree", "remove", "--force", str(folder))
            with contextlib.suppress(GitError):
                git(repository, "worktree", "prune")  # of a run that was killed, too


def notes_on(repository: Path = ROOT) -> list[str]:
    """What a reader of the comparison should know about the checkout."""
    if git(repository, "status", "--porcelain", "--untracked-files=no"):
        return ["uncommitted changes are not part of head: commit them to have them measured"]
    return []


def doubts_on(folders: tuple[Path, Path]) -> list[str]:
    """Why the two states were not measured as they would run: both run with the packages that are installed here."""
    base, head = (_pins(folder / LOCK) for folder in folders)
    changed = sorted(name for name in base.keys() | head.keys() if base.get(name) != head.get(name))
    if not changed:
        return []
    told = ", ".join(f"{name} {base.get(name, 'none')} -> {head.get(name, 'none')}" for name in changed[:MOST_NAMED])
    more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
    return [
        f"{LOCK} differs ({told}{more}), and both sides ran with the packages that are installed here:"
        " what these change was not measured"
    ]


def _pins(lock: Path) -> dict[str, str]:
    """Package -> version, as the lock pins them; hashes and comments are no difference."""
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    found: dict[str, list[str]] = {}
    for name, version in PIN.findall(text):
        found.setdefault(name.lower(), []).append(version)
    return {name: " or ".join(sorted(versions)) for name, versions in found.items()}
