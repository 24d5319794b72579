"""Which code runs: the module's path and the commit of the checkout that tracks it, and nothing where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest

import server
from server.ops import revision as module
from server.ops.revision import Revision, revision

HERE = Path(server.__file__).resolve()


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(not (HERE.parents[1] / ".git").exists(), reason="not a git checkout")
async def test_healthz_names_the_code_that_runs(service: httpx2.AsyncClient) -> None:
    answer = (await service.get("/healthz")).json()
    assert answer["module"] == str(HERE)
    assert answer["commit"] == git(HERE.parent, "rev-parse", "HEAD")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, outside any checkout, that believes itself to be imported."""
    folder = tmp_path / "checkout" / "chat" / "server"
    (folder / "ops").mkdir(parents=True)
    for name in ("__init__.py", "ops/revision.py"):
        shutil.copyfile(HERE.parent / name, folder / name)
    monkeypatch.setattr(module, "__file__", str(folder / "ops" / "revision.py"))
    return folder


def seen() -> Revision:
    return revision.__wrapped__()


def test_outside_a_checkout_there_is_no_commit(package: Path) -> None:
    assert seen() == Revision(str(package / "__init__.py"), None)


def test_a_checkout_that_does_not_track_the_file_is_not_its_own(package: Path) -> None:
    """As an environment that was made inside some other project's checkout."""
    top = package.parents[1]
    git(top, "init", "--quiet")
    assert seen().commit is None  # no commit yet
    git(top, "commit", "--quiet", "--allow-empty", "--message", "one")
    assert seen().commit is None
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "two")
    assert seen().commit == git(top, "rev-parse", "HEAD")


def test_a_hooks_environment_names_no_other_repository(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(package.parents[1], "init", "--quiet")
    git(package.parents[1], "add", "--all")
    git(package.parents[1], "commit", "--quiet", "--message", "own")
    own = git(package, "rev-parse", "HEAD")
    git(tmp_path, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert seen().commit == own


def test_without_git_there_is_no_commit(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(package))
    assert seen().commit is None
