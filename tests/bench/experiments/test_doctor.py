"""The doctor: every check on this machine, each fault made on purpose, and the command as a person meets it."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.cli import instrument as cli_instrument
from bench.experiments import doctor
from bench.experiments.doctor import Check


def test_every_check_reports_what_it_found() -> None:
    found = list(doctor.checks(workers=2, streams=10))
    names = [check.name for check in found]
    assert names == [
        "cores", "CPU governor", "open files", "one clock", "timer, asyncio (uvloop)", "timer, gevent", "other work",
        "steal", "memory", "loopback", "redis", "postgres", "nats",
    ]  # fmt: skip
    by_name = {check.name: check for check in found}
    assert all(check.found for check in found)
    assert all(check.fix for check in found if not check.ok), "a check that fails names a fix"
    assert by_name["one clock"].ok, by_name["one clock"]
    assert by_name["redis"].ok, by_name["redis"]
    assert "embedded" in by_name["postgres"].found or "url" in by_name["postgres"].found
    assert "sleeps of 10 ms" in by_name["timer, gevent"].found


@pytest.mark.parametrize(
    ("cores", "ok", "fix"),
    [(1, False, "2 cores or more"), (2, None, "WORKERS=1"), (3, None, "WORKERS=1"), (4, True, "")],
)
def test_cores_against_processes(monkeypatch: pytest.MonkeyPatch, cores: int, ok: bool | None, fix: str) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: float(cores))
    check = doctor.cores(2)
    assert check.ok is ok
    assert fix in check.fix
    assert f"{cores} cores for 4 busy processes" in check.found


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000", 0.5), ("max 100000", None), (None, None)])
def test_a_containers_quota_counts(tmp_path: Path, quota: str | None, cores: float | None) -> None:
    free = doctor.usable_cores(tmp_path / "none")
    assert free >= 1
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert doctor.usable_cores(tmp_path / "cpu.max") == (cores or free)


@pytest.mark.parametrize(
    ("names", "ok"), [((), True), (("performance", "performance"), True), (("performance", "powersave"), None)]
)
def test_the_governor(tmp_path: Path, names: tuple[str, ...], ok: bool | None) -> None:
    for number, name in enumerate(names):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
    check = doctor.governor(tmp_path)
    assert check.ok is ok
    assert bool(check.fix) == (ok is None)


@pytest.mark.parametrize(
    ("soft", "hard", "ok", "fix"),
    [
        (400, 400, True, ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, True, ""),
        (399, 1000, False, "ulimit -n 400"),
        (399, resource.RLIM_INFINITY, False, "ulimit -n 400"),
        (256, 399, False, "raise the hard limit to 400"),
    ],
)
def test_open_files(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, ok: bool, fix: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    check = doctor.open_files(100)
    assert check.ok is ok
    assert fix in check.fix
    assert "400 needed" in check.found


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_a_clock_of_another_namespace_is_found(ahead_s: int) -> None:
    check = doctor.clock(
        f"import sys, time\nfor _ in sys.stdin: print(time.monotonic_ns() + {ahead_s} * 10**9, flush=True)"
    )
    assert check.ok is False
    off_s = float(check.found.removeprefix("a child's stamp is ").partition(" s off")[0])
    assert off_s == pytest.approx(ahead_s, abs=60)  # the child is read a little late
    assert "time namespaces" in check.fix


def test_a_child_that_cannot_run_is_reported() -> None:
    assert doctor.clock("raise SystemExit").ok is False


def test_a_timer_that_is_late_is_found() -> None:
    late = "import time\nfor _ in range({count}): print(1.5)\n"
    check = doctor.timer("slow", late)
    assert (check.ok, bool(check.fix)) == (None, True)
    check = doctor.timer("bad", late.replace("1.5", "6 if _ < 2 else 0.1"))
    assert check.ok is False
    assert "p99 6.00 ms" in check.found
    assert doctor.timer("good", late.replace("1.5", "0.4")).ok
    assert doctor.timer("broken", "raise SystemExit(1) # {count}").ok is False


def test_other_work_is_named_and_its_arguments_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = psutil.process_iter  # others may be at work beside these tests
    monkeypatch.setattr(psutil, "process_iter", lambda asked: [p for p in everybody(asked) if p.ppid() == os.getpid()])
    burn = "import time; print('burning', flush=True); end = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", burn, "a-secret-argument"], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            name = psutil.Process(other.pid).name()
            plenty, scarce = doctor.competition(64), doctor.competition(2)
        finally:
            other.kill()
    assert plenty.ok is None
    assert scarce.ok is False
    for check in (plenty, scarce):
        assert name in check.found + check.fix
        assert "a-secret-argument" not in check.found + check.fix


def test_a_quiet_machine_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_busy_cores", lambda: 0.0)
    assert doctor.competition(4).ok


@pytest.mark.parametrize(("share", "ok"), [(0.0, True), (0.02, None), (0.2, False)])
def test_steal(monkeypatch: pytest.MonkeyPatch, share: float, ok: bool | None) -> None:
    times = SimpleNamespace(steal=100 * share)
    monkeypatch.setattr(psutil, "cpu_times_percent", lambda _interval: times)
    check = doctor.steal()
    assert check.ok is ok
    assert f"{share:.1%}" in check.found


@pytest.mark.parametrize(("free_mb", "ok"), [(4000, True), (700, None), (100, False)])
def test_memory(monkeypatch: pytest.MonkeyPatch, free_mb: int, ok: bool | None) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free_mb * 2**20))
    assert doctor.memory().ok is ok


def test_a_slow_loopback_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.loopback().found.startswith("round trip 0.")
    monkeypatch.setattr(doctor, "SLOW_PING_MS", 0.0)
    assert doctor.loopback().ok is None
    monkeypatch.setattr(doctor, "BROKEN_PING_MS", 0.0)
    check = doctor.loopback()
    assert check.ok is False
    assert check.fix


def test_a_store_that_does_not_answer_is_reported_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://me:secret@127.0.0.1:1/0")
    check = doctor.store("redis")
    assert check.ok is False
    assert "REDIS_URL" in check.found
    assert "unset REDIS_URL" in check.fix
    assert "secret" not in check.found + check.fix


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (None, 0), (False, 2)])
def test_the_command(monkeypatch: pytest.MonkeyPatch, ok: bool | None, code: int) -> None:
    import typer
    from typer.testing import CliRunner

    asked: dict[str, int] = {}

    def checks(**sizes: int) -> list[Check]:
        asked.update(sizes)
        return [Check("one", True, "fine"), Check("two", ok, "found [brackets]", "change this")]

    monkeypatch.setattr(doctor, "checks", checks)
    app = typer.Typer()
    app.command()(cli_instrument.doctor)
    done = CliRunner().invoke(app, ["--workers", "3"])
    assert done.exit_code == code
    assert asked["workers"] == 3
    assert asked["streams"] >= 50
    assert "found [brackets]" in done.stdout
    assert "change this" in done.stdout
    assert ("would be invalid: two" in done.stderr) == (code == 2)
