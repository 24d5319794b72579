"""A side that runs other code than its checkout is an error, whether its service names its code or not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.gate.commits import ROOT
from bench.record.host import describe_commit
from bench.record.manifest import CodeInfo
from bench.run import code_check
from bench.run.code_check import code_of
from bench.system.procs import Child, ChildError


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This code as a checkout of its own, with a commit of its own."""
    folder = tmp_path_factory.mktemp("checkout")
    for room in ("backends", "server"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "one"]):
        command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@contextmanager
def serving(folder: Path, log: Path, **env: str) -> Iterator[Child]:
    arguments = ["server", "--port", "0", "--workers", "1", "--backend", "none://"]
    with Child("server", arguments, log, folder=folder, env={"OPENAI_API_KEY": "unused", **env}) as service:
        yield service


@pytest.fixture(scope="module")
def service(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    with serving(checkout, tmp_path_factory.mktemp("logs") / "server.log") as running:
        yield running


def test_the_checkouts_own_code(service: Child, checkout: Path) -> None:
    module = str((checkout / "server" / "__init__.py").resolve())
    assert code_of(service, checkout) == CodeInfo(module=module, commit=describe_commit(checkout)[0], reported=True)


def test_code_that_names_nothing_is_looked_for_where_its_python_imports(
    service: Child, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_check, "request_json", lambda _url, _path: {"status": "ok"})
    found = code_of(service, checkout)
    module = str((checkout / "server" / "__init__.py").resolve())
    assert found == CodeInfo(module=module, commit=describe_commit(checkout)[0], reported=False)
    with pytest.raises(ChildError, match="runs other code"):
        code_of(service, ROOT)


@pytest.mark.parametrize("reported", [True, False])
def test_a_service_that_imports_another_checkout_is_refused_in_one_line(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, reported: bool
) -> None:
    """PYTHONSAFEPATH: the folder that it is started in does not count, and the installed package is found."""
    if not reported:
        monkeypatch.setattr(code_check, "request_json", lambda _url, _path: {"status": "ok"})
    with (
        serving(checkout, tmp_path / "server.log", PYTHONSAFEPATH="1") as other,
        pytest.raises(ChildError, match="unset PYTHONPATH and PYTHONSAFEPATH") as refused,
    ):
        code_of(other, checkout)
    assert "\n" not in str(refused.value)


def test_the_right_path_at_another_commit_is_refused(
    service: Child, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_check, "describe_commit", lambda _folder: ("f" * 40, False))
    with pytest.raises(ChildError, match=r"of commit [0-9a-f]{7}, expected fffffff"):
        code_of(service, checkout)
