"""The command line as a person meets it: real processes, one line for each mistake, and the right exit code."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def bench(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | env,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--backend", "mysql"], ["BACKEND", "mysql", "all, memory, postgres, redis"]),
        (["--scenario", "flowing,gone"], ["SCENARIO", "gone", "flowing, stalled, steady"]),
        (["--scenario", ""], ["SCENARIO", "flowing, stalled, steady"]),
        (["--workers", "0"], ["WORKERS", "1 to 64"]),
        (["--workers", "many"], ["WORKERS", "many", "1 to 64"]),
        (["--seed", "x"], ["--seed"]),
        (["--colour"], ["--colour"]),
    ],
)
def test_bad_values_name_the_choices(tmp_path: Path, arguments: list[str], names: list[str]) -> None:
    done = bench("run", "--results", str(tmp_path / "results"), *arguments)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert all(name in done.stderr for name in names)
    assert not (tmp_path / "results").exists()


def test_a_results_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bench("run", "--results", str(tmp_path / "file"))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "--results" in done.stderr


@pytest.mark.parametrize("folder", ["nothing", "file", "empty"])
def test_a_folder_without_results(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    done = bench("report", str(tmp_path / folder))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert folder in done.stderr


@pytest.mark.parametrize(("variable", "kind"), [("REDIS_URL", "redis"), ("DATABASE_URL", "postgres")])
def test_a_dead_store_could_not_be_measured(tmp_path: Path, variable: str, kind: str) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        url = f"{kind}://me:secret@127.0.0.1:{nobody_listens.getsockname()[1]}/0"
        done = bench("run", "--backend", kind, "--results", str(tmp_path), **{variable: url})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert variable in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was measured, so nothing is kept


def test_the_catalogue_is_listed() -> None:
    done = bench("scenarios")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("flowing", "stalled", "first-token", "steady"))


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["scenarios"]])
def test_help_is_there(command: list[str]) -> None:
    done = bench(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
