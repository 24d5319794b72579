"""Two commits side by side, of this repository or another one, and why they may not have been measured as they run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bench.gate import GateError
from bench.gate.commits import commit_of, lock_doubts, uncommitted_notes, worktrees

LOCK = "redis==8.1.0 \\\n    --hash=sha256:aa\nasyncpg==0.32 ; python_version >= '3.11' \\\n    --hash=sha256:bb\n"


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A repository that is not this one; the service lies in a folder of it, from the second commit on."""
    top = tmp_path / "other"
    (top / "chat" / "server").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", str(top))
    (top / "readme").write_text("one")
    git(top, "add", "readme")
    git(top, "commit", "--quiet", "--message", "one")
    (top / "chat" / "server" / "__main__.py").write_text("base = 1")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "two")
    (top / "chat" / "server" / "__main__.py").write_text("head = 1")
    git(top, "commit", "--quiet", "--all", "--message", "three")
    return top


def test_another_repository_whose_service_lies_below_its_top(other: Path) -> None:
    with worktrees("HEAD~1", repository=other / "chat") as folders:
        said = [(folder / "server" / "__main__.py").read_text() for folder in folders]
    assert said == ["base = 1", "head = 1"]
    assert not folders[0].exists()
    assert len(commit_of("HEAD", other)) == 40


def test_a_commit_without_the_service_is_named(other: Path) -> None:
    with (
        pytest.raises(GateError, match="has no chat/server/, so there is no service"),
        worktrees("HEAD~2", repository=other / "chat"),
    ):
        pass
    with pytest.raises(GateError, match="gone is not a folder"):
        commit_of("HEAD", other / "gone")


def test_uncommitted_changes_are_told(other: Path) -> None:
    assert uncommitted_notes(other) == []
    (other / "readme").write_text("two")
    assert "not part of head" in uncommitted_notes(other)[0]


@pytest.mark.parametrize(
    ("lock", "says"),
    [
        (LOCK, None),
        ("# made anew\n" + LOCK.replace("sha256:aa", "sha256:cc"), None),
        (LOCK.replace("8.1.0", "8.2.0"), r"\(redis 8\.1\.0 -> 8\.2\.0\)"),
        (LOCK + "uvloop==0.22\n", r"\(uvloop none -> 0\.22\)"),
        (None, "asyncpg 0.32 -> none, redis 8.1.0 -> none"),
    ],
)
def test_other_packages_are_a_doubt_and_other_hashes_are_none(
    tmp_path: Path, lock: str | None, says: str | None
) -> None:
    folders = (tmp_path / "base", tmp_path / "head")
    for folder, text in zip(folders, (LOCK, lock), strict=True):
        folder.mkdir()
        if text is not None:
            (folder / "requirements.lock").write_text(text)
    found = lock_doubts(folders)
    assert len(found) == (says is not None)
    assert says is None or re.search(says, found[0])
