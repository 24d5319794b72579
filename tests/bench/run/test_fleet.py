"""Load by Locust's master and workers: every row arrives, a lost worker ends the run, clocks are compared.

Network namespaces are the machines, and time namespaces shift CLOCK_MONOTONIC by whole seconds; both need root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench.load.driver import Load
from bench.load.fleet.protocol import Fleet
from bench.load.loaded import Loaded
from bench.load.order import OrderedChat, order_of
from bench.record.manifest import Manifest
from bench.record.schema import CaseRow, ChatRow
from bench.record.writer import Results
from bench.run.campaign import Run
from bench.run.meter import Measured
from bench.run.subject import Side
from bench.system.procs import Child, ChildError
from bench.workload.plan import Case
from tests.bench.machines import AHEAD_S, ROOT, Machine, free_port, unshared
from tests.bench.small_runs import SETTINGS, cases_of, chats_of, manifest_of, shrink_the_instrument, small

WITHIN_S = 5.0
CASE = Case("floor", small("flowing", chats=40, output_tokens=20), 1)


@contextlib.contextmanager
def witness(logs: Path, host: str = "127.0.0.1") -> Iterator[Child]:
    with Child("mock_llm", ["mock_llm", "serve", "--host", host, "--port", "0"], logs / "mock_llm.log") as mock:
        yield mock


def send(load: Load, mock: Child, case: Case = CASE) -> Loaded:
    """Chats straight to the mock, each hanging up after 100 ms."""
    chats = [
        OrderedChat(
            index=number, request_id=f"{secrets.token_hex(4)}-{number}", at_ms=10.0 * number, abort_after_ms=100
        )
        for number in range(case.scenario.chats)
    ]
    order = order_of(case, mock.url, {}, mock.url)
    order.streams = len(chats)
    return load.execute(order, chats, load.processes_for(case), deadline_s=60, beside=[mock])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_fleet_on_this_machine_loses_no_row_and_a_lost_worker_ends_its_load_within_5_s(
    tmp_path: Path, how: signal.Signals
) -> None:
    with witness(tmp_path) as mock, Load(1, tmp_path, tmp_path, fleet=Fleet(processes=2), witness=mock.url) as load:
        for _ in range(2):
            check_shared_clock(load, send(load, mock))
        check_loss(load, mock, how)


def check_shared_clock(load: Load, loaded: Loaded) -> None:
    """All workers are on this machine, share its clock, and have sent all rows."""
    workers = load.workers
    assert [each.name.partition(" on ")[0] for each in workers] == ["worker 1", "worker 2"]
    assert sorted(each.pid or 0 for each in workers) == sorted(load.pids())
    assert all(each.shared_clock and each.uncertainty_ns == 0 for each in workers)
    assert sorted(row.index for row in loaded.rows) == list(range(CASE.scenario.chats))
    assert not loaded.clocks
    assert {row.clock_uncertainty_ns for row in loaded.rows} == {0}
    assert {each.pid for each in loaded.health} == {each.pid for each in workers}


def check_loss(load: Load, mock: Child, how: signal.Signals) -> None:
    """Lose a worker during a load of half a minute: it ends within 5 s, and names the worker."""
    long = replace(CASE, scenario=replace(CASE.scenario, chats=3000))
    lost_at: list[float] = []
    (lost,) = (each for each in load.workers if each.name.startswith("worker 2 "))
    assert lost.pid is not None

    def lose(pid: int = lost.pid) -> None:
        lost_at.append(time.monotonic())
        os.kill(pid, how)

    timer = threading.Timer(1.0, lose)
    timer.start()
    try:
        with pytest.raises(ChildError, match=f"^{lost.name} was lost"):
            send(load, mock, long)
        took_s = time.monotonic() - lost_at[0]
    finally:
        timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.kill(lost.pid, signal.SIGCONT)
    assert took_s < WITHIN_S


@pytest.fixture
def machine() -> Iterator[Machine]:
    if why := unshared():
        pytest.skip(why)
    with Machine() as there:
        yield there


def test_workers_with_another_clock_measure_by_the_witness_s(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_the_instrument(monkeypatch)
    port = free_port(machine.here)
    results = Results(tmp_path, "remote")
    case = Case(
        "memory-push", small("flowing", chats=40, output_tokens=60, abort_from_ms=600), 1
    )  # each reaches the witness
    load = f"--master --expect-workers 2 --master-port {port}"
    settings = replace(SETTINGS, workers=1, host=machine.here, load=load)
    logs = [tmp_path / f"worker-{number}.log" for number in range(2)]
    with machine.worker(logs[0], port), machine.worker(logs[1], port):
        Run([case], settings, [Measured(Side(), results)], Console(quiet=True)).execute()
    manifest = msgspec.convert(manifest_of(results.folder), Manifest)
    assert [each.shared_clock for each in manifest.load_workers] == [False, False]
    (row,) = (msgspec.convert(each, CaseRow) for each in cases_of(results.folder) if each["scenario"] == "flowing")
    assert len(row.clocks) == 2
    for clock in row.clocks:
        error_ns = abs(clock.offset_ns + AHEAD_S * 1_000_000_000)
        assert error_ns <= clock.uncertainty_ns, clock
        assert clock.problem is None
    chats = [msgspec.convert(each, ChatRow) for each in chats_of(results.folder) if each["scenario"] == "flowing"]
    assert len(chats) == row.chats_planned - row.dropped
    for chat in chats:
        assert chat.clock_uncertainty_ns > 0
        assert chat.client.sent_ns is not None
        assert chat.witness is not None
        assert chat.witness.received_ns is not None
        slack_ns = chat.clock_uncertainty_ns
        assert -slack_ns < chat.witness.received_ns - chat.client.sent_ns < 20_000_000_000


def test_a_worker_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(ROOT / "bench", old / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    with (old / "bench/load/order.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    port = free_port("127.0.0.1")
    options = ["--worker", "--master-host", "127.0.0.1", "--master-port", str(port)]
    worker = Child("worker", ["bench", "load", *options], tmp_path / "worker.log", ready=False, folder=old)
    fleet = Fleet(workers=1, port=port)
    refused = pytest.raises(ChildError, match=r"^worker 1 on \S+ runs another version \(code \w+, here \w+\): [^\n]+$")
    with witness(tmp_path) as mock, worker:
        with refused, Load(1, tmp_path, tmp_path, fleet=fleet, witness=mock.url):
            pass
        assert worker.process.wait(20) == 2
    assert "runs another version" in (tmp_path / "worker.log").read_text()
