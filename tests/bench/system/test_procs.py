"""Child processes: ready or an error with the cause, CPU time, and none left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.system.procs import Child, ChildError

Make = Callable[..., Child]
READY = "print('ready http://127.0.0.1:1', flush=True);"
FOREVER = "import time; time.sleep(600)"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Children that run a piece of Python as a module."""

    def child(code: str, **options: Any) -> Child:
        (tmp_path / "the_child.py").write_text(code)
        env = {"PYTHONPATH": str(tmp_path)}
        return Child("the child", ["the_child"], tmp_path / "logs" / "child.log", env=env, **options)

    return child


def gone(pid: int) -> bool:
    """True when the process has ended; an orphan that has not been reaped is a zombie, and has ended too."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_ready_child_has_a_url_and_ends_with_the_block(make: Make) -> None:
    with make(READY + FOREVER) as child:
        assert child.url == "http://127.0.0.1:1"
        child.check()
    assert child.process.returncode == -signal.SIGTERM


def test_the_error_of_a_child_that_ends_early_has_its_last_log_lines(make: Make) -> None:
    with (
        pytest.raises(ChildError, match=r"(?s)the child ended with exit code 3 .*\n  no such port"),
        make("import sys; print('no such port', file=sys.stderr); sys.exit(3)"),
    ):
        pass


def test_a_child_that_is_never_ready_is_stopped(make: Make) -> None:
    child = make(FOREVER, deadline_s=0.5)
    with pytest.raises(ChildError, match=r"not ready after 0\.5 s"), child:
        pass
    assert child.process.returncode is not None


def test_a_child_that_prints_another_line_is_stopped(make: Make) -> None:
    with (
        pytest.raises(ChildError, match="'hello' instead of `ready URL`"),
        make("print('hello', flush=True);" + FOREVER),
    ):
        pass


def test_the_end_of_a_running_child_is_an_error(make: Make) -> None:
    with make(READY + FOREVER) as child:
        child.process.kill()
        child.process.wait()
        with pytest.raises(ChildError, match="died with exit code -9"):
            child.check()


def test_grandchildren_are_measured_and_end_with_the_child(make: Make) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ntime.sleep(600)"
    code = (
        "import signal, subprocess, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        f"p = subprocess.Popen([sys.executable, '-c', {burn!r}], stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\nprint('ready http://127.0.0.1:1', flush=True)\nsignal.pause()"
    )
    with make(code) as child:
        (grandchild,) = psutil.Process(child.process.pid).children()
        assert child.cpu_s() > 0.29
    assert gone(grandchild.pid)


def test_the_cpu_time_of_ended_grandchildren_is_included(make: Make) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    code = (
        "import signal, subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {burn!r}], check=True)\n"
        "print('ready http://127.0.0.1:1', flush=True)\nsignal.pause()"
    )
    with make(code) as child:
        assert psutil.Process(child.process.pid).children() == []
        assert child.cpu_s() > 0.28


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the system counts in ticks")
def test_cpu_time_has_a_resolution_below_one_tick() -> None:
    """In another process, because this one has working children. The readings take milliseconds on a busy machine."""
    code = (
        "import os, time\nfrom bench.system.cpu_time import tree_cpu_ns\n"
        "began_ns = time.process_time_ns()\n"
        "before_ns, began_s = tree_cpu_ns(os.getpid()), time.process_time()\n"
        "while time.process_time() - began_s < 0.003: pass\n"
        "print(tree_cpu_ns(os.getpid()) - before_ns, time.process_time_ns() - began_ns)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    measured_ns, with_readings_ns = map(int, printed.stdout.split())
    assert 3_000_000 <= measured_ns <= with_readings_ns
    assert measured_ns % 10_000_000  # else in ticks


def test_a_child_that_ignores_the_signal_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.system.procs.STOP_DEADLINE_S", 0.2)
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    with make(ignore + READY + FOREVER) as child:
        pass
    assert child.process.returncode == -signal.SIGKILL


def test_after_sigkill_of_the_parent_nothing_is_left(tmp_path: Path) -> None:
    """The parent is killed with a child, a grandchild and a folder; the reaper removes them all."""
    (tmp_path / "the_child.py").write_text(
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        + READY
        + FOREVER
    )
    (tmp_path / "the_parent.py").write_text(
        "import psutil, time\nfrom pathlib import Path\n"
        "from bench.system.embedded import temporary_folder\nfrom bench.system.procs import Child\n"
        "here = Path(__file__).parent\n"
        "with temporary_folder('test') as folder, Child('c', ['the_child'], here / 'log', folder=here):\n"
        "    pids = [p.pid for p in psutil.Process().children(recursive=True)]\n"
        "    print('ready', folder, *pids, flush=True)\n    time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-m", "the_parent"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
    )
    with parent:
        assert parent.stdout is not None
        _, folder, *pids = parent.stdout.readline().split()
        assert len(pids) == 3  # reaper, child, grandchild
        assert Path(folder).is_dir()
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not (all(gone(int(pid)) for pid in pids) and not Path(folder).exists()):
        time.sleep(0.02)
    assert [pid for pid in pids if not gone(int(pid))] == []
    assert not Path(folder).exists()
