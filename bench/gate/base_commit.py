"""Choose the commit that HEAD is compared with: the merge base, so that commits of others are not counted as HEAD's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.system.git import GitError, git

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Comparison:
    """The two commits that a gate compares; `ref` is what the user named, and `ref_commit` what it resolved to.

    `base` is the merge base of `ref` and HEAD unless the tip was asked for, or `instead` says, in words, why it is
    another commit. `ahead` and `behind` count HEAD's commits that `ref` lacks, and those of `ref` that HEAD lacks.
    """

    ref: str
    ref_commit: str
    base: str
    head: str
    ahead: int
    behind: int
    shallow: bool
    instead: str = ""

    @property
    def notes(self) -> list[str]:
        """What a reader of the verdict should know about the choice of base, in words."""
        if self.instead:
            return [self.instead]
        counted = " (of the commits in this shallow clone)" if self.shallow else ""
        apart = f"HEAD is {self.ahead} commit{_s(self.ahead)} ahead of {self.ref} and {self.behind} behind{counted}"
        chosen = "the tip of" if self.base == self.ref_commit else "the merge base with"
        return [f"{apart}; base is {chosen} {self.ref}, {self.base[:7]}"]

    def as_row(self) -> dict[str, Any]:
        """What verdict.json keeps of it, beside base's commit."""
        return {"ref": self.ref, "ref_commit": self.ref_commit, "ahead": self.ahead, "behind": self.behind}


def choose_base(ref: str, repository: Path = ROOT, *, tip: bool = False, or_parent: bool = False) -> Comparison:
    """Choose the commit that HEAD is compared with: the merge base of `ref` and HEAD, with `tip` the commit of `ref`.

    `or_parent`: take HEAD's first parent where that would be HEAD itself, as on a push to the default branch. Raises
    GitError for a ref that is none, histories without a common commit, and a base with the same files as HEAD.
    """
    ref_commit, head = commit_of(ref, repository), commit_of("HEAD", repository)
    shallow = is_shallow(repository)
    base = ref_commit if tip else _merge_base(ref, ref_commit, head, repository, shallow=shallow)
    counts = git(repository, "rev-list", "--left-right", "--count", f"{head}...{ref_commit}")
    ahead, behind = (int(count) for count in counts.split())
    instead = ""
    if base == head and or_parent:
        base = _parent(repository, shallow=shallow)
        instead = f"{ref} contains HEAD, so HEAD is compared with its first parent, {base[:7]}"
    if _tree(base, repository) == _tree(head, repository):
        if base == head:
            why = "is HEAD itself" if ref_commit == head else "contains HEAD"
        else:
            why = f"leads to {base[:7]}, which has the same files as HEAD"
        raise GitError(
            f"BASE {ref!r} {why} ({head[:7]}), so there is nothing to compare: name an older commit, for example"
            " BASE=HEAD~1 (`python -m bench aa` measures the same code twice)"
        )
    return Comparison(ref, ref_commit, base, head, ahead, behind, shallow, instead)


def commit_of(ref: str, repository: Path = ROOT) -> str:
    """The commit that a ref names. Raises GitError, with git's own words where the repository cannot be read."""
    if not ref or ref.startswith("-"):
        raise GitError(f"BASE is {ref!r}: name a git ref, for example BASE=origin/main")
    if not repository.is_dir():
        raise GitError(f"{repository} is no folder: give the checkout whose HEAD is to be measured")
    shallow = is_shallow(repository)  # fails where git refuses the repository as a whole: that is not the ref's fault
    try:
        return git(repository, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    except GitError as error:
        advice = f"check its name (`git branch --all` lists branches), or fetch it{_unshallow(shallow=shallow)}"
        raise GitError(f"BASE {ref!r} is no commit here ({error}): {advice}") from None


def is_shallow(repository: Path) -> bool:
    """Whether the clone lacks a part of its history. Raises GitError."""
    return git(repository, "rev-parse", "--is-shallow-repository") == "true"


def _merge_base(ref: str, ref_commit: str, head: str, repository: Path, *, shallow: bool) -> str:
    try:
        return git(repository, "merge-base", ref_commit, head)
    except GitError as error:
        advice = _unshallow(shallow=shallow) or "; compare with the tip itself with --tip"
        raise GitError(f"BASE {ref!r} and HEAD have no common commit here ({error}){advice}") from None


def _parent(repository: Path, *, shallow: bool) -> str:
    try:
        return git(repository, "rev-parse", "--verify", "--end-of-options", "HEAD~1^{commit}")
    except GitError as error:
        raise GitError(f"HEAD has no parent here to compare with ({error}){_unshallow(shallow=shallow)}") from None


def _tree(commit: str, repository: Path) -> str:
    return git(repository, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")


def _unshallow(*, shallow: bool) -> str:
    advice = "; this clone is shallow: `git fetch --unshallow`, with actions/checkout `fetch-depth: 0`"
    return advice if shallow else ""


def _s(count: int) -> str:
    return "" if count == 1 else "s"
