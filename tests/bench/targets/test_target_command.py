"""`target new` and `target check`: their files, lines and exit codes."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.bench.command import Bench

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_new_writes_a_file_and_keeps_an_existing_one(bench: Bench) -> None:
    assert bench("target", "new", "my.toml").returncode == 0
    assert Path("my.toml").read_text().startswith("# A chat to measure.")
    Path("my.toml").write_text("mine")
    again = bench("target", "new", "my.toml")
    assert (again.returncode, again.stderr) == (4, "bench: my.toml cannot be written: File exists\n")
    assert Path("my.toml").read_text() == "mine"
    assert bench("target", "new", "my.txt").returncode == 4


def test_a_fault_of_the_file_is_one_line_and_exit_code_4(bench: Bench) -> None:
    Path("my.toml").write_text((HERE / "plain.toml").read_text().replace("{{id}}", "{{ids.run}}"))
    done = bench("target", "check", "my.toml")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: my.toml: stop.cancel.request: ids.run is no variable; known are ")
    assert bench("run", "--strategy", "my.toml", "--scenario", "flowing").stderr == done.stderr


def test_a_service_that_does_not_become_ready_is_exit_code_2_and_is_ended(bench: Bench) -> None:
    text = (HERE / "plain.toml").read_text().replace("{{here}}", str(HERE)).replace("within_s = 30", "within_s = 0.01")
    Path("my.toml").write_text(text)
    before = set(psutil.Process().children(recursive=True))  # those of fixtures of other files
    done = bench("target", "check", "my.toml:tidy")
    assert done.returncode == 2
    assert "plain:tidy was not ready after 0.01 s: GET /health had no answer" in done.stderr.splitlines()[0]
    assert done.stdout.splitlines() == ["starting plain:tidy"]
    left = set(psutil.Process().children(recursive=True)) - before
    running = " ".join(word for child in left for word in child.cmdline())
    assert not [each for each in ("fake_service", "mock_llm", "locust") if each in running]


def test_a_scenario_in_which_no_stop_exists_is_refused(bench: Bench) -> None:
    done = bench("run", "--strategy", f"{HERE}/plain.toml", "--scenario", "whole")
    assert done.returncode == 4
    assert "is stopped in no scenario of this run: its situations are flowing" in done.stderr
