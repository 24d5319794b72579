"""Vital signs of real processes: what they burn is what is found, and what they say of themselves is merged."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import Any

import msgspec
import numpy
import pytest

from bench.analysis.health import problems, warnings
from bench.record.schema import CaseRow, LoadRow
from bench.record.traces import ChatTrace, ProcessHealth, Trace
from bench.run.resource_monitor import ResourceMonitor
from tests.processes import Running, running

BURN = """
import sys, time
print("started", flush=True)
sys.stdin.readline()
while time.process_time() < {seconds}: pass
print("burnt", flush=True)
sys.stdin.readline()
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BURN!r}.replace("{{seconds}}", "{{seconds}}")], stdout=subprocess.PIPE)
sys.stdout.write(child.stdout.readline().decode())
print(child.pid, flush=True)
sys.stdout.write(child.stdout.readline().decode()); sys.stdout.flush()
child.wait()
"""
SIGNS = ("lag_p50_ms", "lag_p99_ms", "lag_max_ms", "gc_max_ms")
NOTHING = dict.fromkeys(SIGNS)


@pytest.fixture(scope="module")
def mock_url() -> Iterator[str]:
    with running("mock_llm", "serve", "--port", "0") as mock:
        yield mock.url


@contextmanager
def burner(code: str = BURN, seconds: float = 0.5) -> Iterator[subprocess.Popen[str]]:
    """A process that burns so much CPU time once it gets a line, says so, and ends with the next line."""
    command = [sys.executable, "-c", code.replace("{seconds}", str(seconds))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            say(process)
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def say(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the process has ended"
    return line.strip()


def chat(
    sent_ns: int, end_ns: int, *, tokens: int = 10, late_ms: float | None = None, abort: dict[str, Any] | None = None
) -> LoadRow:
    client = {"sent_ns": sent_ns, "end_ns": end_ns, "token_ns": [sent_ns] * tokens}
    if late_ms is not None:
        client["intended_ns"] = sent_ns - round(late_ms * 1e6)
    abort = abort and {"after_ms": 0.0, **abort}
    return msgspec.convert({"index": 0, "request_id": "a", "client": client, "abort": abort}, LoadRow)


def line(pid: int, from_s: float, p99_ms: float, gc_ms: float) -> Trace:
    span = {"kind": "health", "pid": pid, "from_ns": int(from_s * 1e9), "to_ns": int((from_s + 1) * 1e9)}
    lags = {"lag_p50_ms": 0.3, "lag_p99_ms": p99_ms, "lag_max_ms": 2 * p99_ms, "gc_max_ms": gc_ms}
    return msgspec.convert(span | lags, Trace)  # type: ignore[no-any-return]


def of(health: Any, name: str) -> list[Any]:
    return [each for each in health.processes if each.name == name]


def test_cpu_is_that_of_each_process_over_the_loads_window(mock_url: str) -> None:
    with burner(seconds=1) as load, burner() as idle, ResourceMonitor(mock_url) as monitor:
        monitor.watch("load", load.pid)
        monitor.watch("service", idle.pid)
        sent_ns = monotonic_ns()
        tell(load)
        assert say(load) == "burnt"
        end_ns = monotonic_ns()
    health = monitor.health([chat(sent_ns, end_ns)])
    (busy,), (bored,), (mock,) = of(health, "load"), of(health, "service"), of(health, "mock")
    assert busy.pid == load.pid
    assert busy.cpu == pytest.approx(1 / ((end_ns - sent_ns) / 1e9), abs=0.2), "it burnt 1 s"
    assert bored.cpu < 0.05
    assert mock.cpu < 0.2
    assert {sign: getattr(bored, sign) for sign in SIGNS} == NOTHING, "a stranger without a probe"
    assert 0 <= (health.steal or 0) < 1
    assert health.chunks_per_s == pytest.approx(10 / ((end_ns - sent_ns) / 1e9), rel=0.01)


def test_what_ran_before_the_window_does_not_count(mock_url: str) -> None:
    with burner() as early, ResourceMonitor(mock_url) as monitor, burner(seconds=0.6) as clock:
        monitor.watch("load", early.pid)
        tell(early)
        assert say(early) == "burnt"
        sent_ns = monotonic_ns()
        tell(clock)
        assert say(clock) == "burnt"
        end_ns = monotonic_ns()
    (found,) = of(monitor.health([chat(sent_ns, end_ns)]), "load")
    assert found.cpu < 0.1


def test_a_process_that_ended_with_the_load_keeps_its_share(mock_url: str) -> None:
    with ResourceMonitor(mock_url) as monitor, burner(seconds=0.7) as load, burner(seconds=0.2) as clock:
        monitor.watch("load", load.pid)
        sent_ns = monotonic_ns()
        tell(load)
        assert say(load) == "burnt"
        tell(load)
        load.wait()
        tell(clock)
        assert say(clock) == "burnt"
        (found,) = of(monitor.health([chat(sent_ns, monotonic_ns())]), "load")
    assert found.cpu > 0.3


def test_the_services_workers_are_those_that_write_traces(mock_url: str) -> None:
    with burner(PARENT) as service, ResourceMonitor(mock_url) as monitor:
        worker = int(say(service))
        monitor.watch("service", service.pid)
        sent_ns = monotonic_ns()
        tell(service)
        assert say(service) == "burnt"
        end_ns = monotonic_ns()
    rows = [chat(sent_ns, end_ns)]
    assert {each.pid for each in of(monitor.health(rows), "service")} == {service.pid, worker}
    at_s = sent_ns / 1e9
    (stranger,) = of(monitor.health(rows, traces=[line(1, at_s, 1.0, 1.0)]), "service")
    assert (stranger.pid, stranger.cpu, stranger.lag_max_ms) == (1, None, 2.0), "started after watch()"
    before, lines = line(worker, at_s - 10, 99.0, 99.0), [line(worker, at_s, p99, p99) for p99 in (1.0, 2.0, 9.0)]
    other = ChatTrace(pid=service.pid, request_id="x")
    (found,) = of(monitor.health([chat(sent_ns, end_ns + 10**10)], traces=[before, other, *lines]), "service")
    assert found.pid == worker
    assert found.cpu > 0.3
    assert {sign: getattr(found, sign) for sign in SIGNS} == {
        "lag_p50_ms": 0.3, "lag_p99_ms": 2.0, "lag_max_ms": 18.0, "gc_max_ms": 9.0,
    }  # fmt: skip


def test_what_load_and_mock_say_of_themselves_is_merged(mock_url: str) -> None:
    with burner() as load, ResourceMonitor(mock_url) as monitor:
        monitor.watch("load", load.pid)
        sent_ns = monotonic_ns()
        tell(load)
        assert say(load) == "burnt"
    own: dict[str, Any] = {"lag_p50_ms": 0.2, "lag_p99_ms": 0.9, "lag_max_ms": 3.0, "gc_max_ms": 0.0}
    loads = [ProcessHealth(pid=load.pid, **own), ProcessHealth(pid=1, **(own | {"lag_p99_ms": 9.0}))]
    health = monitor.health([chat(sent_ns, monotonic_ns())], load=loads)
    unseen, seen = of(health, "load")
    assert {sign: getattr(seen, sign) for sign in SIGNS} == own
    assert (unseen.pid, unseen.cpu, unseen.lag_p99_ms) == (1, None, 9.0)
    (mock,) = of(health, "mock")
    assert 0 <= mock.lag_p50_ms <= mock.lag_p99_ms <= mock.lag_max_ms
    assert mock.gc_max_ms >= 0
    row: Any = CaseRow(strategy="a", scenario="b", workers=1, streams=1, block=0, health=health)
    assert any("the load (process 1): its loop was 9.0 ms late" in problem for problem in problems(row))
    assert any("the CPU use of the load (process 1) was not measured" in warning for warning in warnings(row))


def test_how_late_chats_and_stops_left(mock_url: str) -> None:
    ms = 1_000_000
    with ResourceMonitor(mock_url) as monitor:
        pass
    rows = [
        chat(
            number * ms,
            (number + 9) * ms,
            late_ms=number / 100,
            abort={"sent_ns": number * ms, "intended_ns": number * ms - 3 * ms},
        )
        for number in range(1, 201)
    ]
    rows.append(chat(1, 2, abort={"sent_ns": None, "intended_ns": 5}))
    health = monitor.health(rows)
    late_ms = [number / 100 for number in range(1, 201)]
    assert health.chat_lag_p99_ms == pytest.approx(numpy.percentile(late_ms, 99), abs=1e-4)
    assert health.abort_lag_p99_ms == 3.0
    health = monitor.health([chat(0, ms), chat(0, ms, abort={"sent_ns": 1})])
    assert (health.chat_lag_p99_ms, health.abort_lag_p99_ms) == (None, None), "a closed loop plans nothing"


def test_a_load_that_sent_nothing_has_no_window(mock_url: str) -> None:
    with ResourceMonitor(mock_url) as monitor:
        pass
    health = monitor.health([chat(0, 0, tokens=0)])
    assert health.chunks_per_s == 0
    assert [each.cpu for each in health.processes] == [None]


def test_an_error_of_the_load_is_not_covered_by_the_mocks() -> None:
    def fail(mock: Running) -> None:
        with ResourceMonitor(mock.url):
            mock.process.terminate()
            mock.process.wait(10)
            raise RuntimeError("in mid-load")

    with running("mock_llm", "serve", "--port", "0") as mock, pytest.raises(RuntimeError, match="in mid-load"):
        fail(mock)


def test_a_load_process_of_another_machine_is_not_confused_with_one_here(mock_url: str) -> None:
    mine = ProcessHealth(pid=os.getpid(), lag_p99_ms=1.0)
    other = ProcessHealth(pid=os.getpid(), lag_p99_ms=7.0, cpu=0.4, host="worker 2 on b")
    with ResourceMonitor(mock_url) as monitor:
        monitor.watch("load", os.getpid())
    health = monitor.health([chat(monotonic_ns(), monotonic_ns() + 1)], load=[mine, other])
    load = [(each.host, each.lag_p99_ms) for each in health.processes if each.name == "load"]
    assert (None, 1.0) in load
    assert load[-1] == ("worker 2 on b", 7.0)
    assert [each.cpu for each in health.processes if each.host] == [0.4]
    row = CaseRow(strategy="", scenario="", workers=0, streams=0, block=0, health=health)
    assert any(f"the load (process {os.getpid()}, worker 2 on b)" in problem for problem in problems(row))
