"""LOAD, and what a worker reports of its code and clock."""

from __future__ import annotations

import pytest

from bench.load.fleet import protocol
from bench.load.fleet.protocol import Fleet, clock_id, hello, parse_fleet
from bench.record.traces import ClockReading
from bench.workload.scenario import PlanError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("--processes 4", Fleet(processes=4)),
        ("--master --expect-workers 2", Fleet(workers=2)),
        ("--master --expect-workers 2 --master-port 6000", Fleet(workers=2, port=6000)),
    ],
)
def test_load_is_read(text: str, found: Fleet | None) -> None:
    assert parse_fleet(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *("4", "--processes", "--processes x", "--processes 0", "--processes -1", "--worker", "--master"),
        *("--expect-workers 2", "--master --processes 2", "--processes 2 --expect-workers 2", "--processes 1000"),
        "--master --expect-workers 2 --master-port 70000",
    ],
)
def test_another_load_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PlanError, match=r"^LOAD is '[^\n]+$"):
        parse_fleet(text)


@pytest.mark.parametrize(
    ("clock", "offset_ns", "shared"),
    [(clock_id(), 3_000, True), (clock_id(), 90_000, False), ("another boot time:[1]", 3_000, False), ("", 0, False)],
)
def test_a_clock_is_shared_if_boot_namespace_and_reading_agree(clock: str, offset_ns: int, shared: bool) -> None:
    found = hello(clock, ClockReading(at_ns=1, offset_ns=offset_ns, uncertainty_ns=20_000))
    assert found.shared is shared
    described = found.describe(1)
    assert described.name == f"worker 2 on {found.host}"
    assert (described.offset_ns, described.uncertainty_ns) == ((0, 0) if shared else (offset_ns, 20_000))


def test_a_system_without_proc_shares_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_identity", lambda _namespace: "")
    assert not hello(clock_id(), ClockReading(at_ns=1, offset_ns=0, uncertainty_ns=9)).shared
