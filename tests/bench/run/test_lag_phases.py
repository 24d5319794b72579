"""The phases of a case's health, from made-up samples and seconds: a busy beginning is not diluted by a long tail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import psutil
import pytest

from bench.record.schema import ClientSide, Health, LoadRow, LoopLag, Phase, PhaseUse
from bench.record.traces import HealthTrace, ProcessHealth, Second
from bench.run.resource_monitor import ResourceMonitor, _Watched, mostly_within, touching, typical

S = 1_000_000_000
ME = psutil.Process()


def second(from_s: float, p99_ms: float | None, *, to_s: float | None = None) -> Second:
    span = {"from_ns": int(from_s * S), "to_ns": int((from_s + 1 if to_s is None else to_s) * S)}
    late = {"lag_p50_ms": p99_ms and p99_ms / 10, "lag_p99_ms": p99_ms, "lag_max_ms": p99_ms and p99_ms * 2}
    return msgspec.convert(span | late | {"gc_max_ms": p99_ms or 0.0}, Second)


def chat(sent_s: float, end_s: float) -> LoadRow:
    client = ClientSide(sent_ns=int(sent_s * S), end_ns=int(end_s * S), token_ns=[])
    return LoadRow(index=0, request_id="a", client=client)


def watched(name: str, used_s: Callable[[float], float]) -> _Watched:
    """Sampled every 0.2 s from 9 to 21 s, with so much CPU time by then."""
    moments_s = [9 + step / 5 for step in range(61)]
    return _Watched(name, ME, [(int(at_s * S), used_s(at_s)) for at_s in moments_s])


def health(name: str, lines: list[Second], rows: list[LoadRow], *, steal_s: Callable[[float], float]) -> Health:
    """The one process is busy from 10 to 12 s, and idle from then on."""
    monitor = ResourceMonitor("http://127.0.0.1:9")
    monitor._watched = [watched(name, lambda at_s: 0.95 * min(max(at_s - 10, 0), 2))]
    monitor._machine = [(int(at_s * S), steal_s(at_s), 2.0 * at_s) for at_s in (9 + step / 5 for step in range(61))]
    own = ProcessHealth(pid=ME.pid, seconds=lines, **msgspec.structs.asdict(typical(lines)))
    if name == "mock":
        monitor._mock = own
        return monitor.health(rows)
    if name == "load":
        return monitor.health(rows, load=[own])
    return monitor.health(rows, traces=[HealthTrace(pid=ME.pid, **msgspec.structs.asdict(line)) for line in lines])


@pytest.mark.parametrize("name", ["load", "mock", "service"])
def test_a_busy_beginning_is_not_diluted_by_a_long_tail(name: str) -> None:
    lines = [second(9, 99.0), second(10, 8.0), second(11, 6.0), *(second(at_s, 1.0) for at_s in range(12, 20))]
    rows = [chat(10, 11), chat(12, 20), chat(11, 12)]
    found = health(name, lines, rows, steal_s=lambda at_s: 0.4 * min(max(at_s - 12, 0), 1))
    (process,) = found.processes
    assert process.cpu == pytest.approx(0.19, abs=0.01)
    assert msgspec.structs.asdict(process.phases["arriving"]) == {
        "cpu": pytest.approx(0.95, abs=0.001), "lag_p50_ms": pytest.approx(0.7), "lag_p99_ms": 7.0,
        "lag_max_ms": 16.0, "gc_max_ms": 8.0,
    }  # fmt: skip
    assert process.phases["ending"] == PhaseUse(cpu=0.0, lag_p50_ms=0.1, lag_p99_ms=1.0, lag_max_ms=2.0, gc_max_ms=1.0)
    assert found.phases == {
        "arriving": Phase(from_ns=10 * S, to_ns=12 * S, steal=0.0),
        "ending": Phase(from_ns=12 * S, to_ns=20 * S, steal=0.025),
    }


def test_a_phase_without_samples_or_seconds_knows_nothing() -> None:
    found = health("load", [], [chat(10, 11), chat(30, 31)], steal_s=lambda _: 0.0)
    (process,) = found.processes
    assert process.phases["ending"] == PhaseUse()
    assert process.phases["arriving"].lag_p99_ms is None
    short = health("load", [second(10, 1.0)], [chat(10, 10.4)], steal_s=lambda _: 0.0)
    assert (short.phases, short.processes[0].phases) == ({}, {}), "too short for both"


def test_what_an_older_load_says_of_itself_is_enough() -> None:
    monitor = ResourceMonitor("http://127.0.0.1:9")
    own: dict[str, Any] = {"lag_p50_ms": 0.2, "lag_p99_ms": 0.9, "lag_max_ms": 3.0, "gc_max_ms": 0.0}
    (process,) = monitor.health([chat(10, 11)], load=[ProcessHealth(pid=1, **own)]).processes
    assert process.lag_p99_ms == 0.9
    assert process.phases["ending"].lag_p99_ms is None


def test_a_second_belongs_to_the_phase_that_holds_most_of_it() -> None:
    before, astride, after = lines = [second(9.0, 1.0), second(10.0, 2.0), second(11.0, 3.0)]
    assert mostly_within(lines, (int(9.1 * S), int(10.2 * S))) == [before]
    assert mostly_within(lines, (int(10.2 * S), int(12.5 * S))) == [astride, after]
    assert mostly_within(lines, (int(10.2 * S), int(10.8 * S))) == [astride], "a phase within a second"
    assert mostly_within(lines, (int(10.8 * S), int(11.3 * S))) == [after], "half of the phase"
    assert mostly_within(lines, (0, 0)) == []
    assert touching(lines, (int(9.1 * S), int(10.2 * S))) == [before, astride]
    assert touching(lines, (12 * S, 13 * S)) == [after]


def test_signs_are_those_of_the_typical_second_and_the_worst_one() -> None:
    lines = [second(0, 1.0), second(1, 9.0), second(2, None), second(3, 2.0)]
    assert typical(lines) == LoopLag(lag_p50_ms=0.2, lag_p99_ms=2.0, lag_max_ms=18.0, gc_max_ms=9.0)
    assert typical([]) == LoopLag()
