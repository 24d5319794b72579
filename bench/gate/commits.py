"""The two commits that a gate compares: choose the base, and check both out as temporary git worktrees."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.gate import INVALID, GateError
from bench.system.embedded import temporary_folder
from bench.system.git import GitError, git

ROOT = Path(__file__).parents[2]
LOCK, SERVICE = "requirements.lock", "server"
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
MAX_NAMED_PACKAGES = 3
NO_MERGE_BASE = "; compare with the tip itself with --tip"


class Comparison(NamedTuple):
    """The commits that a gate compares; `ref` is the user's name for the base, `ref_commit` the commit of that name.

    `base` is their merge base, the tip, or HEAD's parent, and `note` a sentence on that. `ahead` and `behind` count the
    commits that only HEAD has, and those that only `ref` has.
    """

    ref: str
    ref_commit: str
    base: str
    head: str
    ahead: int
    behind: int
    note: str


def choose_base(ref: str, repository: Path = ROOT, *, tip: bool = False, or_parent: bool = False) -> Comparison:
    """Choose the commit to compare HEAD with: the merge base of `ref` and HEAD, with `tip` the commit of `ref`.

    `or_parent`: HEAD's first parent where the base would be HEAD, as on a push to the default branch. Raises GateError
    for an unknown ref, for histories without a common commit, and for a base with the same files as HEAD.
    """
    ref_commit, head = commit_of(ref, repository), commit_of("HEAD", repository)
    unshallow, base, note = _unshallow_advice(repository), ref_commit, ""
    if not tip:
        error_text = f"BASE {ref!r} and HEAD have no common commit here ({{}}){unshallow or NO_MERGE_BASE}"
        base = _git(repository, "merge-base", ref_commit, head, error_text=error_text)
    if base == head and or_parent:
        error_text = f"HEAD has no parent here to compare with ({{}}){unshallow}"
        base = _resolve(repository, "HEAD~1^{commit}", error_text)
        note = f"{ref} contains HEAD, so HEAD is compared with its first parent, {base[:7]}"
    counts = _git(repository, "rev-list", "--left-right", "--count", f"{head}...{ref_commit}")
    same_files = _resolve(repository, f"{base}^{{tree}}") == _resolve(repository, f"{head}^{{tree}}")
    if same_files:
        cause = f"leads to {base[:7]}, which has the same files as HEAD"
        if base == head:
            cause = "is HEAD itself" if ref_commit == head else "contains HEAD"
        raise GateError(
            f"BASE {ref!r} {cause} ({head[:7]}), so there is nothing to compare: name an older commit, for example"
            " BASE=HEAD~1 (`python -m bench aa` measures the same code twice)"
        )
    ahead, behind = (int(count) for count in counts.split())
    if not note:
        counted = " (of the commits in this shallow clone)" if unshallow else ""
        chosen = "the tip of" if base == ref_commit else "the merge base with"
        note = f"HEAD is {ahead} commit{'s' * (ahead != 1)} ahead of {ref} and {behind} behind{counted}"
        note += f"; base is {chosen} {ref}, {base[:7]}"
    return Comparison(ref, ref_commit, base, head, ahead, behind, note)


def commit_of(ref: str, repository: Path = ROOT) -> str:
    """The commit of a ref. Raises GateError; its message includes git's own where the repository cannot be read."""
    if not ref or ref.startswith("-"):
        raise GateError(f"BASE is {ref!r}: name a git ref, for example BASE=origin/main")
    if not repository.is_dir():
        raise GateError(f"{repository} is not a folder: give the checkout whose HEAD is to be measured")
    unshallow = _unshallow_advice(repository)  # fails where git refuses the whole repository, whatever the ref
    advice = f"check its name (`git branch --all` lists branches), or fetch it{unshallow}"
    return _resolve(repository, f"{ref}^{{commit}}", f"BASE {ref!r} is not a commit here ({{}}): {advice}")


@contextlib.contextmanager
def worktrees(
    base: str, head: str = "HEAD", *, repository: Path = ROOT, service: str = SERVICE
) -> Iterator[tuple[Path, Path]]:
    """Check both refs out side by side, and remove them at the end.

    `repository` is the service's folder in a checkout, its top or below; the folders given are the same ones of the
    two worktrees. `service` is what it must contain; empty: nothing, it may even be missing and is then made. Raises
    GateError for an unknown ref and for a commit without the service, GitError otherwise.
    """
    commits = [commit_of(ref, repository) for ref in (base, head)]
    below = git(repository, "rev-parse", "--show-prefix")
    with temporary_folder("regress") as scratch, contextlib.ExitStack() as undo:
        undo.callback(_try_git, repository, "worktree", "prune")  # also those of a run that was killed
        folders = (scratch / "base", scratch / "head")
        for folder, commit in zip(folders, commits, strict=True):
            undo.callback(_try_git, repository, "worktree", "remove", "--force", str(folder))
            git(repository, "worktree", "add", "--detach", "--quiet", str(folder), commit)
            if not service:
                (folder / below).mkdir(parents=True, exist_ok=True)
            if not (folder / below / service).is_dir():
                raise GateError(f"{commit[:7]} has no {below}{service}/, so there is no service to measure", INVALID)
        yield folders[0] / below, folders[1] / below


def uncommitted_notes(repository: Path = ROOT) -> list[str]:
    """A sentence if the checkout has changes that are not measured."""
    changed = git(repository, "status", "--porcelain", "--untracked-files=no")
    return ["uncommitted changes are not part of head: commit them to have them measured"] if changed else []


def lock_doubts(folders: tuple[Path, Path]) -> list[str]:
    """A sentence if the two states pin different packages: both sides run with the installed ones."""
    base, head = (_pins(folder / LOCK) for folder in folders)
    changed = sorted(name for name in base.keys() | head.keys() if base.get(name) != head.get(name))
    if not changed:
        return []
    named, more = changed[:MAX_NAMED_PACKAGES], len(changed) - MAX_NAMED_PACKAGES
    text = ", ".join(f"{name} {base.get(name, 'none')} -> {head.get(name, 'none')}" for name in named)
    text += f" and {more} more" if more > 0 else ""
    return [f"{LOCK} differs ({text}); both sides ran with the installed packages, so this was not measured"]


def _pins(lock: Path) -> dict[str, str]:
    """Package -> pinned version; hashes and comments are ignored."""
    found: dict[str, set[str]] = {}
    for name, version in PIN.findall(lock.read_text(encoding="utf-8") if lock.exists() else ""):
        found.setdefault(name.lower(), set()).add(version)
    return {name: " or ".join(sorted(versions)) for name, versions in found.items()}


def _try_git(repository: Path, *arguments: str) -> None:
    with contextlib.suppress(GitError):
        git(repository, *arguments)


def _resolve(repository: Path, name: str, error_text: str = "{}") -> str:
    return _git(repository, "rev-parse", "--verify", "--end-of-options", name, error_text=error_text)


def _unshallow_advice(repository: Path) -> str:
    """The advice for a shallow clone, empty for a full one."""
    shallow = _git(repository, "rev-parse", "--is-shallow-repository") == "true"
    return "; this clone is shallow: `git fetch --unshallow`, with actions/checkout `fetch-depth: 0`" if shallow else ""


def _git(repository: Path, *arguments: str, error_text: str = "{}") -> str:
    """Run git. Raises GateError with this text, git's own in its braces."""
    try:
        return git(repository, *arguments)
    except GitError as error:
        raise GateError(error_text.replace("{}", str(error))) from None
