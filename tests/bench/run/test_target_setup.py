"""`process.setup`: what it installs, when two checkouts share it, and how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.run import target_setup
from bench.run.target_setup import install
from bench.system.procs import ChildError
from bench.targets.model import Process

COUNT = 'echo "$PWD" >> {{venv}}/runs; echo done'


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(target_setup, "FOLDER", tmp_path / "installed")
    return tmp_path / "installed"


def checkout(parent: Path, name: str, **files: str) -> Path:
    place = parent / name
    place.mkdir()
    for file, text in files.items():
        (place / f"{file}.txt").write_text(text)
    return place


def run(here: Path, command: str = COUNT, **more: list[str]) -> Path:
    process = Process.model_validate({"argv": ["x"], "setup": ["sh", "-c", command], **more})
    found = install(process, here, {"here": str(here)}, here / "setup.log", "base (0123abc)")
    assert found["npm"] == f"{found['venv']}/node_modules"
    return Path(found["venv"])


def test_the_same_locks_share_one_set_up(tmp_path: Path) -> None:
    base, head = (checkout(tmp_path, name, requirements="a==1") for name in ("base", "head"))
    assert run(base) == run(head)
    assert (run(head) / "runs").read_text().split() == [str(base)]


def test_other_locks_and_other_commands_do_not(tmp_path: Path) -> None:
    base, head = checkout(tmp_path, "base", requirements="a==1"), checkout(tmp_path, "head", requirements="a==2")
    assert len({run(base), run(head), run(head, COUNT + " again")}) == 3


def test_a_set_up_that_fails_is_named_with_its_last_lines_and_runs_again(tmp_path: Path) -> None:
    here = checkout(tmp_path, "base", requirements="a==1")
    with pytest.raises(ChildError) as caught:
        run(here, "echo no package a >&2; test -e now")
    first, *tail = str(caught.value).splitlines()
    assert first.startswith("base (0123abc): process.setup ended with exit code 1; its log is ")
    assert tail == ["  no package a"]
    (here / "now").touch()
    assert run(here, "echo no package a >&2; test -e now").is_dir()


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    here = checkout(tmp_path, "base", requirements="a==1")
    process = Process.model_validate({"argv": ["x"], "setup": ["no-such-program"]})
    with pytest.raises(ChildError, match=r"base: process\.setup: no-such-program is not on the PATH"):
        install(process, here, {}, here / "log", "base")


def test_a_checkout_without_a_lock_is_refused_unless_another_file_is_named(tmp_path: Path) -> None:
    here = checkout(tmp_path, "base", versions="a==1")
    with pytest.raises(ChildError, match=r"needs a lock file in .*; process\.locks names another"):
        run(here)
    assert run(here, locks=["versions.txt"]).is_dir()


@pytest.mark.parametrize("pointer", ["chat.pth", "chat.dist-info/direct_url.json"])
def test_a_set_up_that_installs_the_checkout_itself_is_refused(tmp_path: Path, installed: Path, pointer: str) -> None:
    """Base and head with the same locks share one installation, and would both run the code of base."""
    here = checkout(tmp_path, "base", requirements="a==1")
    with pytest.raises(ChildError, match="installed the checkout itself"):
        run(here, f"mkdir -p {{{{venv}}}}/chat.dist-info; echo {{{{here}}}} > {{{{venv}}}}/{pointer}")
    assert not any(installed.iterdir())
