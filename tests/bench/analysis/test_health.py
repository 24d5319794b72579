"""The health gate: a fair case passes, and each limit, once passed, is told with what to change."""

from typing import Any

import pytest

from tests.bench.typed import problems, stolen, warnings

ROW = {"strategy": "redis-push", "scenario": "flowing", "workers": 2, "streams": 50, "block": 0}
SPAN = {"from_ns": 0, "to_ns": 1}


def process(name: str, pid: int, **signs: Any) -> dict[str, Any]:
    fine = {"cpu": 0.3, "lag_p50_ms": 0.4, "lag_p99_ms": 1.2, "lag_max_ms": 8.0, "gc_max_ms": 0.5}
    return {"name": name, "pid": pid, **fine, **signs}


def case(*, load: dict[str, Any] | None = None, mock: dict[str, Any] | None = None, **health: Any) -> dict[str, Any]:
    """A case of a fair machine with two cores: the service fills one, and its own lag shows it."""
    processes = [
        process("load", 11, **(load or {})),
        process("mock", 12, **(mock or {})),
        process("service", 13, cpu=1.0, lag_p99_ms=80.0, gc_max_ms=90.0),
        process("service", 14, cpu=0.99, lag_p50_ms=None, lag_p99_ms=None, lag_max_ms=None, gc_max_ms=None),
    ]
    fair = {"steal": 0.0, "chat_lag_p99_ms": 1.5, "abort_lag_p99_ms": 1.5, "chunks_per_s": 5000.0}
    return ROW | {
        "witness_late_p99_ms": 1.0,
        "load_processes": 1,
        "health": {"processes": processes, **fair, **health},
    }


def test_a_busy_service_is_no_fault_of_the_instrument() -> None:
    assert problems(case()) == []
    assert warnings(case()) == []


def test_what_has_no_probe_or_plan_is_not_judged() -> None:
    unknown = {"lag_p50_ms": None, "lag_p99_ms": None, "lag_max_ms": None, "gc_max_ms": None}
    row = case(load=unknown, mock=unknown, chat_lag_p99_ms=None, abort_lag_p99_ms=None)
    assert problems(row) == warnings(row) == []


def test_a_row_of_an_older_run_has_its_pacing_only() -> None:
    assert problems(ROW) == warnings(ROW) == []
    (found,) = problems(ROW | {"witness_late_p99_ms": 5.1})
    assert "could not keep its pace (p99 5.1 ms late, limit 5 ms)" in found


@pytest.mark.parametrize(
    ("limit", "row", "seen", "change"),
    [
        ("85%", case(load={"cpu": 0.86}), "the load (process 11) used 86% of a core", "add load processes"),
        ("85%", case(mock={"cpu": 1.0}), "the mock (process 12) used 100% of a core", "lower the scenario's streams"),
        ("5 ms", case(load={"lag_p99_ms": 5.1}), "the load (process 11): its loop was 5.1 ms late", "other work"),
        ("5 ms", case(mock={"lag_p99_ms": 7.0}), "the mock (process 12): its loop was 7.0 ms late", "other work"),
        ("50 ms", case(mock={"gc_max_ms": 51.0}), "garbage collection stopped it for 51.0 ms", "tokens per second"),
        ("5%", case(steal=0.06), "the host took 6.0% of the CPU time", "use a machine or an hour"),
        ("5 ms", case(chat_lag_p99_ms=5.1), "chats left 5.1 ms after their planned moment", "add load processes"),
        ("5 ms", case(abort_lag_p99_ms=9.0), "Stops left 9.0 ms after their planned moment", "add load processes"),
        ("5 ms", case() | {"witness_late_p99_ms": 6.0}, "the mock upstream could not keep its pace", "add cores"),
    ],
)
def test_a_limit_that_is_passed_is_told(limit: str, row: dict[str, Any], seen: str, change: str) -> None:
    (found,) = problems(row)
    assert seen in found
    assert f"limit {limit}" in found
    assert change in found
    assert warnings(row) == [], "told once"


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        (case(load={"lag_p99_ms": 3.0}), "its loop was 3.0 ms late at p99 (soft limit 2.5 ms)"),
        (case(mock={"gc_max_ms": 12.0}), "garbage collection stopped it for 12.0 ms (soft limit 10 ms)"),
        (case(load={"cpu": None}), "the CPU use of the load (process 11) was not measured"),
        (case(chunks_per_s=20_002.0), "each load process read 20,002 chunks/s"),
        (case(chunks_per_s=20_002.0) | {"load_processes": None}, "each load process read 20,002 chunks/s"),
    ],
)
def test_what_makes_a_case_less_exact_is_a_warning(row: dict[str, Any], seen: str) -> None:
    assert problems(row) == []
    (found,) = warnings(row)
    assert seen in found


def phases(**ending: Any) -> dict[str, Any]:
    """Both phases of a process: fair while chats arrive, and as given while streams end."""
    fair = {"cpu": 0.4, "lag_p50_ms": 0.4, "lag_p99_ms": 1.2, "lag_max_ms": 8.0, "gc_max_ms": 0.5}
    return {"phases": {"arriving": fair, "ending": fair | ending}}


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        (case(load=phases(cpu=0.95)), "the load (process 11) used 95% of a core (limit 85%): add load processes"),
        (case(mock=phases(cpu=0.95)), "the mock (process 12) used 95% of a core (limit 85%): add cores"),
        (case(mock=phases(lag_p99_ms=7.0)), "the mock (process 12): its loop was 7.0 ms late at p99 (limit 5 ms)"),
        (
            case(phases={"arriving": {"steal": 0.0, **SPAN}, "ending": {"steal": 0.09, **SPAN}}),
            "the host took 9.0% of the CPU time (steal, limit 5%): use a machine",
        ),
    ],
)
def test_what_only_a_phase_shows_is_a_warning(row: dict[str, Any], seen: str) -> None:
    assert problems(row) == [], "it was well over the whole load"
    (found,) = warnings(row)
    assert found.startswith(f"while streams were ending, after the last chat was sent, {seen}")


def test_the_phase_is_that_in_which_it_was_seen() -> None:
    busy = phases()
    busy["phases"]["arriving"] = busy["phases"]["arriving"] | {"cpu": 0.9}
    (found,) = warnings(case(load=busy))
    assert found.startswith("while chats were arriving, the load (process 11) used 90% of a core")


def test_what_the_whole_load_shows_is_not_told_of_its_phases_too() -> None:
    for sign in ({"cpu": 0.9}, {"lag_p99_ms": 6.0}):
        row = case(load={**sign, **phases(**sign)})
        assert len(problems(row)) == 1
        assert warnings(row) == []
    row = case(steal=0.06, phases={"ending": {"steal": 0.2, **SPAN}})
    assert len(problems(row)) == 1
    assert warnings(row) == []
    (found,) = warnings(case(load=phases(lag_p99_ms=6.0), mock={"lag_p99_ms": 6.0, **phases(lag_p99_ms=6.0)}))
    assert "the load" in found, "what the mock shows over the whole load says nothing of the load"


def test_a_phase_that_nobody_saw_or_of_a_storm_or_a_busy_service_is_no_warning() -> None:
    assert warnings(case(load=phases(cpu=None, lag_p99_ms=None, gc_max_ms=None))) == []
    assert warnings(case(load=phases(lag_p99_ms=12.0)) | {"at_once": 100}) == []
    row = case()
    row["health"]["processes"][2] |= {"cpu": 0.5, **phases(cpu=1.0)}
    assert warnings(row) == []


def test_time_that_the_host_took_is_told_once_for_all_cases() -> None:
    assert warnings(case(steal=0.02)) == stolen([case(steal=0.009), case(steal=0.06), ROW]) == []
    (found,) = stolen([case(steal=0.02), case(steal=0.03), case(), case(steal=0.06)])
    assert "took up to 3.0% of the CPU time" in found
    assert "in 2 of 4 measurements" in found


def test_a_storm_may_be_as_late_as_its_stops_are_many_and_no_later() -> None:
    late = case(load={"lag_p99_ms": 12.0}, mock={"lag_p99_ms": 12.0}, abort_lag_p99_ms=14.0)
    late["witness_late_p99_ms"] = 13.0
    assert len(problems(late)) == 4
    assert problems(late | {"at_once": 100}) == []
    (found,) = problems(case(abort_lag_p99_ms=15.0) | {"at_once": 100})
    assert "limit 14.9 ms" in found


def test_the_chunk_rate_is_shared_by_the_load_processes() -> None:
    assert warnings(case(chunks_per_s=20_002.0) | {"load_processes": 4}) == []
