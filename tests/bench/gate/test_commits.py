"""Which commit is compared with HEAD, in whatever state the repository and the environment around git are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.gate import GateError
from bench.gate.commits import choose_base, commit_of, worktrees
from bench.record.host import describe_commit


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, text: str) -> str:
    (folder / "server" / "__init__.py").write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", text)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """`main` has one, two, three; `work`, which is checked out, left it at one and has four, five."""
    folder = tmp_path / "top"
    (folder / "server").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(folder))
    commit(folder, "one")
    git(folder, "branch", "work")
    for text in ("two", "three"):
        commit(folder, text)
    git(folder, "checkout", "--quiet", "work")
    for text in ("four", "five"):
        commit(folder, text)
    return folder


def test_the_merge_base_is_compared_and_the_distance_told(top: Path) -> None:
    found = choose_base("main", top)
    assert found.base == git(top, "rev-parse", "main~2")
    assert (found.head, found.ahead, found.behind) == (git(top, "rev-parse", "work"), 2, 2)
    assert found.note == (
        f"HEAD is 2 commits ahead of main and 2 behind; base is the merge base with main, {found.base[:7]}"
    )
    assert (found.ref, found.ref_commit) == ("main", git(top, "rev-parse", "main"))
    with worktrees(found.base, found.head, repository=top) as folders:
        assert [(folder / "server" / "__init__.py").read_text() for folder in folders] == ["one", "five"]


def test_the_tip_when_asked_for(top: Path) -> None:
    found = choose_base("main", top, tip=True)
    assert found.base == git(top, "rev-parse", "main")
    assert "base is the tip of main" in found.note


@pytest.mark.parametrize("ref", ["HEAD", "work", "HEAD^0"])
def test_head_itself_is_refused_or_its_parent_taken(top: Path, ref: str) -> None:
    with pytest.raises(GateError, match=rf"BASE '{ref.replace('^', '.')}' is HEAD itself .*BASE=HEAD~1"):
        choose_base(ref, top)
    found = choose_base(ref, top, or_parent=True)
    assert found.base == git(top, "rev-parse", "HEAD~1")
    assert found.note == f"{ref} contains HEAD, so HEAD is compared with its first parent, {found.base[:7]}"


def test_a_ref_that_contains_head(top: Path) -> None:
    """As a HEAD that was merged already."""
    git(top, "checkout", "--quiet", "main~1")
    with pytest.raises(GateError, match="BASE 'main' contains HEAD"):
        choose_base("main", top)
    assert choose_base("main", top, or_parent=True).base == git(top, "rev-parse", "main~2")
    assert choose_base("main", top, tip=True).base == git(top, "rev-parse", "main")


def test_another_commit_with_the_same_files_is_refused(top: Path) -> None:
    git(top, "commit", "--quiet", "--allow-empty", "--message", "again")
    with pytest.raises(GateError, match=r"BASE 'HEAD~1' leads to .*, which has the same files as HEAD"):
        choose_base("HEAD~1", top)


def test_a_typo_is_not_answered_with_a_fetch_of_all_history(top: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"BASE 'nope' is not a commit here .*check its name") as typo:
        commit_of("nope", top)
    assert "shallow" not in str(typo.value)
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--branch", "work", top.as_uri(), "shallow")
    with pytest.raises(GateError, match=r"this clone is shallow: `git fetch --unshallow`, .*`fetch-depth: 0`"):
        commit_of("nope", tmp_path / "shallow")


def test_histories_that_do_not_meet(top: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--branch", "work", "--no-single-branch", top.as_uri(), "shallow")
    with pytest.raises(GateError, match=r"have no common commit here .*git fetch --unshallow"):
        choose_base("origin/main", shallow)
    assert choose_base("origin/main", shallow, tip=True).note.count("shallow clone") == 1
    with pytest.raises(GateError, match=r"HEAD has no parent here .*git fetch --unshallow"):
        choose_base("HEAD", shallow, or_parent=True)
    git(top, "checkout", "--quiet", "--orphan", "alone")
    commit(top, "alone")
    with pytest.raises(GateError, match=r"have no common commit here .*--tip"):
        choose_base("main", top)


HOOK = "#!/bin/sh\ntouch {seen}\nexit 1\n"


@pytest.mark.parametrize("where", ["repository", "settings"])
def test_hooks_are_not_run(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    seen, hooks = tmp_path / "seen", top / ".git" / "hooks"
    if where == "settings":
        hooks = tmp_path / "hooks"
        for name, value in (("COUNT", "1"), ("KEY_0", "core.hooksPath"), ("VALUE_0", str(hooks))):
            monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    hooks.mkdir(exist_ok=True)
    (hooks / "post-checkout").write_text(HOOK.format(seen=seen))
    (hooks / "post-checkout").chmod(0o755)
    with worktrees("HEAD~1", repository=top) as folders:
        assert (folders[0] / "server").is_dir()
    assert not seen.exists()


def test_a_hooks_environment_names_no_other_repository(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIT_INDEX_FILE alone spoils a worktree; GIT_DIR names another repository altogether."""
    here, base = git(top, "rev-parse", "HEAD"), git(top, "rev-parse", "main~2")
    git(tmp_path, "init", "--quiet", "other")
    other = tmp_path / "other" / ".git"
    for name, value in {
        "GIT_DIR": other, "GIT_WORK_TREE": other.parent, "GIT_INDEX_FILE": other / "index", "GIT_PREFIX": "server/",
        "GIT_OBJECT_DIRECTORY": other / "objects", "GIT_COMMON_DIR": other, "GIT_NAMESPACE": "x",
        "GIT_CONFIG_PARAMETERS": "'core.bare=true'",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    assert choose_base("main", top).base == base
    assert describe_commit(top) == (here, False)
    with worktrees("HEAD~1", repository=top) as folders:
        assert (folders[1] / "server" / "__init__.py").read_text() == "five"
        assert describe_commit(folders[1]) == (here, False)


def test_large_files_are_not_downloaded(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that is not installed, or has no network, would fail the checkout."""
    settings = {"smudge": "no-such-program", "process": "no-such-program", "required": "true"}
    monkeypatch.setenv("GIT_CONFIG_COUNT", "3")
    for number, (name, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", f"filter.lfs.{name}")
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    (top / ".gitattributes").write_text("*.bin filter=lfs\n")
    (top / "model.bin").write_text("pointer")
    git(top, "-c", "filter.lfs.process=", "-c", "filter.lfs.clean=", "-c", "filter.lfs.required=false", "add", "--all")
    git(top, "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false", "commit", "--quiet", "--message", "large")
    with worktrees("HEAD~1", repository=top) as folders:
        assert (folders[1] / "model.bin").read_text() == "pointer"


def test_a_repository_that_git_refuses_is_told_in_gits_words(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner is another user, as in many containers; git has a switch to pretend that."""
    real = next(
        Path(folder) / "git" for folder in os.environ["PATH"].split(os.pathsep) if (Path(folder) / "git").exists()
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {real} "$@"\n')
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(
        GateError, match=r"detected dubious ownership .*git config --global --add safe\.directory"
    ) as told:
        choose_base("main", top)
    assert "unshallow" not in str(told.value)
    assert "\n" not in str(told.value)
    monkeypatch.setenv("PATH", str(real.parent))
    with pytest.raises(GateError, match="not a git repository"):
        commit_of("HEAD", tmp_path)
