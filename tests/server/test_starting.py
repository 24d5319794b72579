"""`python -m server`: failed starts are one line and exit code 4; a signal at any time leaves nothing behind."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from server.process.metrics_folder import OWNER, metrics_folder
from server.relay.upstream_client import make_client
from server.settings import OPENAI_URL, SettingError, Settings
from tests.server.service import serve

DEADLINE_S = 60


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server", "--port", "0", *arguments]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S, env=env)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRACE_DIR", "/dev/null/x", ["TRACE_DIR", "/dev/null/x", "Not a directory"]),
        ("ALL_PROXY", "socks://me:sekret@proxy.test:1", ["ALL_PROXY", "http://host:port"]),
    ],
)
def test_workers_that_cannot_start_are_one_line(name: str, value: str, words: list[str], tmp_path: Path) -> None:
    done = run("--workers", "3", "--backend", "none://", **{name: value, "TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1), done.stderr
    assert done.stderr.startswith("server: ")
    assert all(word in done.stderr for word in words)
    assert "kret" not in done.stderr
    assert list(tmp_path.glob("stopwatch-*")) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HTTPS_PROXY", "http://me:se#kret@proxy.test:1", ["HTTPS_PROXY", "http://host:port"]),
        ("SSL_CERT_FILE", "/dev/null/x", ["SSL_CERT_FILE"]),
    ],
)
def test_an_environment_without_a_client_for_the_upstream(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as caught:
        make_client(Settings())
    assert all(word in str(caught.value) for word in words)
    assert "kret" not in str(caught.value)


def test_an_upstream_that_is_no_url_is_one_line() -> None:
    done = run(OPENAI_BASE_URL="http://me:sekret@/v1")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "openai_base_url" in done.stderr
    assert "sekret" not in done.stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/v1", "http://", "http://host:99999/v1"])
def test_an_upstream_that_is_no_url(url: str) -> None:
    with pytest.raises(ValidationError, match=r"openai_base_url\n.*is not the URL of an OpenAI API"):
        Settings(openai_base_url=url)


def test_an_empty_upstream_is_openais_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert Settings().openai_base_url == OPENAI_URL


def test_memory_with_several_workers_must_be_asked_for() -> None:
    done = run(WORKERS="4")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    for word in ("4 workers", "75%", "--workers 1", "redis+push://", "postgres+push://", "MEMORY_WITH_WORKERS=true"):
        assert word in done.stderr
    Settings(workers=2, memory_with_workers=True).check_memory()  # test_ending runs one


@pytest.mark.parametrize(
    ("backend", "workers"),
    [
        ("memory+push://", 1),
        ("memory+poll://", 1),
        ("none://", 2),
        ("redis+push://host", 2),
        ("redis+cluster+push://h1,h2", 2),
    ],
)
def test_workers_by_default(monkeypatch: pytest.MonkeyPatch, backend: str, workers: int) -> None:
    monkeypatch.setenv("ABORT_BACKEND", backend)
    assert Settings().worker_count == workers
    assert Settings(workers=3).worker_count == 3


def test_the_fork_server_imports_all_that_workers_may_share() -> None:
    code = (
        "import gc, sys\nfrom server.process.preload import MODULES\n"
        "print([each for each in MODULES if each not in sys.modules], 'server.ops.metrics' in sys.modules)\n"
        "print(gc.isenabled(), gc.get_freeze_count() > len(gc.get_objects()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["[] False", "True True", ""]


def a_process(process: psutil.Process, _: Path) -> bool:
    """Its modules are being imported: it handles signals."""
    caught = Path(f"/proc/{process.pid}/status").read_text().split("SigCgt:\t")[1].split()[0]
    return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)


def a_folder(_: psutil.Process, temporary: Path) -> bool:
    """The store is being asked."""
    return bool(list(temporary.glob("stopwatch-*/owner")))


def a_worker(process: psutil.Process, _: Path) -> bool:
    """The fork server has made the first."""
    return any(child.children() for child in process.children())


@pytest.mark.parametrize(
    ("moment", "signum"),
    [
        (a_process, signal.SIGTERM),
        (a_folder, signal.SIGTERM),
        (a_folder, signal.SIGINT),
        (a_folder, signal.SIGHUP),
        (a_worker, signal.SIGTERM),
    ],
)
def test_a_signal_while_it_starts(
    moment: Callable[[psutil.Process, Path], bool], signum: signal.Signals, tmp_path: Path
) -> None:
    other = tmp_path / "of-somebody-else"
    other.mkdir()
    env = os.environ | {"TMPDIR": str(tmp_path), "PROMETHEUS_MULTIPROC_DIR": str(other)}
    command = [sys.executable, "-m", "server", "--port", "0", "--workers", "2", "--backend", "none://"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=env, start_new_session=True) as process:
        seen = psutil.Process(process.pid)
        deadline_s = time.monotonic() + DEADLINE_S
        while not moment(seen, tmp_path):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        children = seen.children(recursive=True)
        process.send_signal(signum)
        _, said = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, b"Traceback" in said) == (0, False)
    assert psutil.wait_procs(children, DEADLINE_S)[1] == []
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(
    ("whom", "signum"),
    [(os.kill, signal.SIGHUP), (os.killpg, signal.SIGHUP), (os.killpg, signal.SIGTERM), (os.killpg, signal.SIGINT)],
)
def test_a_signal_while_it_serves(whom: Callable[[int, int], None], signum: signal.Signals, tmp_path: Path) -> None:
    """To the supervisor alone, or to all its processes at once, as a terminal and systemd do it."""
    with (
        (tmp_path / "log").open("w") as log,
        serve(workers=2, backend="none://", stderr=log, TMPDIR=str(tmp_path)) as service,
    ):
        children = psutil.Process(service.process.pid).children(recursive=True)
        whom(service.process.pid, signum)
        assert service.process.wait(DEADLINE_S) == 0
        assert psutil.wait_procs(children, DEADLINE_S)[1] == []
    assert list(tmp_path.glob("stopwatch-*")) == []
    said = (tmp_path / "log").read_text()
    assert [word for word in ("Traceback", "worker died", "cannot start") if word in said] == []


def test_only_folders_whose_owner_is_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone, other = tmp_path / "stopwatch-metrics-gone", tmp_path / "stopwatch-metrics-of-an-older-version"
    for folder in (gone, other):
        folder.mkdir()
    (gone / OWNER).touch()
    with metrics_folder() as living:
        assert Path(living, OWNER).is_file()
        with metrics_folder() as mine:
            assert {each.name for each in tmp_path.iterdir()} == {other.name, Path(living).name, Path(mine).name}
        with Path(living, OWNER).open() as owner, pytest.raises(BlockingIOError):
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert list(tmp_path.iterdir()) == [other]
