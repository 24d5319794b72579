"""Products are installed from locks: into a folder of their own, all or nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.targets import install as installer
from bench.targets.install import LOCKS, InstallError, install, installed, names, venv


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "locks"
    folder.mkdir()
    monkeypatch.setattr(installer, "LOCKS", folder)
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace pip and npm with a program that makes one script; the list has the products that were built."""
    calls: list[str] = []
    program = "import os; os.mkdir('bin'); open('bin/tool', 'w').write('#!' + os.getcwd() + '/bin/python')"

    def commands(name: str, place: Path) -> list[list[str]]:
        calls.append(name)
        place.mkdir()
        return [[sys.executable, "-c", program]]

    monkeypatch.setattr(installer, "_commands", commands)
    return calls


def test_a_second_call_does_nothing_and_a_changed_lock_installs_again(
    tmp_path: Path, locks: Path, built: list[str]
) -> None:
    lock = locks / "one.txt"
    lock.write_text("a==1")
    said: list[str] = []
    assert not installed("one", tmp_path)
    assert install("one", tmp_path, said.append) == venv("one", tmp_path) == tmp_path / "one"
    assert install("one", tmp_path, said.append).is_dir()
    assert built == ["one"]
    assert installed("one", tmp_path)
    assert re.search(r"Installed one: \d+ s, \d+ MB", "\n".join(said))
    lock.write_text("a==2")
    assert not installed("one", tmp_path)
    install("one", tmp_path, said.append)
    assert built == ["one", "one"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locks", "one", "one.log"]


def test_scripts_name_the_interpreter_at_its_final_place(tmp_path: Path, locks: Path, built: list[str]) -> None:
    (locks / "one.txt").touch()
    assert (install("one", tmp_path, list) / "bin/tool").read_text() == f"#!{tmp_path}/one/bin/python"
    assert built


def test_a_failed_installation_keeps_the_previous_one_and_names_the_cause(
    tmp_path: Path, locks: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = locks / "one.txt"
    lock.write_text("a==1")
    install("one", tmp_path, list)

    def commands(_name: str, place: Path) -> list[list[str]]:
        place.mkdir()
        return [[sys.executable, "-c", "print('ERROR: no such version'); print('a notice'); raise SystemExit(1)"]]

    monkeypatch.setattr(installer, "_commands", commands)
    lock.write_text("a==2")
    with pytest.raises(InstallError, match=r"one could not be installed: ERROR: no such version; the whole log: .*one"):
        install("one", tmp_path, list)
    assert (tmp_path / "one/bin/tool").is_file()
    assert built == ["one"]
    lock.write_text("a==1")
    assert installed("one", tmp_path)


def test_a_lock_becomes_a_virtual_environment_with_working_scripts(tmp_path: Path, locks: Path) -> None:
    (locks / "one.txt").touch()  # nothing to install: no package index is asked
    place = install("one", tmp_path, list)
    done = subprocess.run([place / "bin/pip", "--version"], capture_output=True, text=True, check=True)
    assert str(place) in done.stdout


def test_a_product_without_a_lock_is_one_line_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"^there is no lock of 'nothing'; choose from agno, chainlit, .*$"):
        install("nothing", tmp_path, list)


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.stem)
def test_each_pin_of_a_lock_has_a_hash_and_no_index_is_named(lock: Path) -> None:
    text = lock.read_text()
    pins = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    assert len(pins) > 20
    assert [pin.split()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
    assert re.findall(r"(?m)^.*(?:://|--index|--extra-index|--find-links).*$", text) == []


def test_the_node_lock_has_a_hash_for_each_package() -> None:
    text = (LOCKS / "portkey/package-lock.json").read_text()
    assert text.count('"integrity": "sha512-') == text.count('"node_modules/')
    assert '"resolved"' not in text


def test_names() -> None:
    assert {"agno", "litellm", "open-webui", "portkey"} <= set(names())
