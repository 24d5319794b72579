"""The benchmark of the abort path: measured for real once, and its verdicts on made-up records."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.experiments import abort_path
from tests.bench.command import Bench

RECORD: dict[str, Any] = {
    "stores": {"redis": {"name": "valkey", "version": "9.1.2", "how": "embedded"}},
    "samples": {
        "redis": {
            "latency": [{"pair": 1, "abort_ms": [0.13] * 400, "bare_ms": [0.10] * 400, "command_ms": [0.12] * 400}],
            "burst": [{"pair": 1, "aborts": 2, "abort_ms": [1.0, 2.0], "bare_ms": [0.5, 1.0]}],
            "fanout": [
                {"pair": 1, "listeners": 1, "aborts": 2, "alone_ms": [0.1, 0.1], "burst_ms": [0.2, 0.2]},
                {"pair": 1, "listeners": 64, "aborts": 2, "alone_ms": [0.3, 0.3], "burst_ms": [0.2, 0.2]},
            ],
            "trips": [
                {"delivery": "poll", "step": "read", "times": 20, "first": 2, "trips": 20},
                {"delivery": "timer", "step": "read", "streams": 500, "reads": 10, "intervals": 10.1, "closest": 1.0},
            ],
        }
    },
}


def shown(record: dict[str, Any]) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        for table in abort_path.tables(record):
            console.print(table)
    return capture.get()


def changed(part: str, number: int, **values: Any) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(RECORD))
    record["samples"]["redis"][part][number] |= values
    return record


def test_ratios_are_of_pairs() -> None:
    rows = [{"abort_ms": [2.0] * 10, "bare_ms": [1.0] * 10}, {"abort_ms": [9.0] * 10, "bare_ms": [3.0] * 10}]
    assert abort_path.ratios(rows, "p50") == [2.0, 3.0]
    assert abort_path.ratios(rows, "p99") == []  # ten samples have no p99


def test_the_tables_show_what_was_measured() -> None:
    text = shown(RECORD)
    assert "1.30 (1.30..1.30)" in text
    assert "1.3: met" in text
    assert "3.00 (3.00..3.00)" in text  # 64 listeners against one
    assert "100.0%" in text
    assert "valkey 9.1.2" in text  # the server's own name
    assert "PostgreSQL wakes every listening session" in text
    assert abort_path.broken(RECORD) == []


def test_a_missed_goal_is_reported() -> None:
    assert "1.3: missed" in shown(changed("latency", 0, abort_ms=[0.14] * 400))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (changed("burst", 0, abort_ms=[1.0]), "1 of 2 aborts at once were lost"),
        (changed("burst", 0, abort_ms=[]), "2 of 2 aborts at once were lost"),
        (changed("fanout", 1, alone_ms=[]), "2 aborts were lost with 64 workers"),
        (changed("trips", 0, trips=21), "redis-poll: read takes too many round trips"),
        (changed("trips", 0, first=3), "redis-poll: read takes too many round trips"),
        (changed("trips", 1, closest=0.1), "500 streams reads more than once per interval"),
    ],
)
def test_a_broken_promise_is_reported(record: dict[str, Any], message: str) -> None:
    (promise,) = abort_path.broken(record)
    assert message in promise
    shown(record)  # and the tables can still be drawn


def test_parts_that_are_missing_leave_the_rest() -> None:
    assert "store" in shown({"stores": {}, "samples": {"redis": {"latency": []}, "postgres": {}}})


def test_measured_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr(abort_path, "QUICK_SAMPLES", {"latency": 20, "burst": 40, "fanout": 6})
    done = bench("backends", "--backend", "redis", "--quick", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / abort_path.FILE).read_text())
    assert record["schema"] == abort_path.SCHEMA
    assert record["unmeasured"] == []
    assert record["stores"]["redis"]["version"]
    samples = record["samples"]["redis"]
    assert [row["pair"] for row in samples["latency"]] == [1, 2, 3, 4, 5]
    for row in samples["latency"]:
        for side in ("abort_ms", "bare_ms", "command_ms"):
            assert len(row[side]) == abort_path.QUICK_SAMPLES["latency"]
            assert min(row[side]) > 0  # two processes, one clock
    assert {row["listeners"] for row in samples["fanout"]} == {1, 8, 64}
    assert [path.name for path in tmp_path.iterdir()] == [abort_path.FILE]


def test_a_dead_store_could_not_be_measured(bench: Bench, tmp_path: Path) -> None:
    done = bench(
        "backends", "--backend", "redis", "--results", str(tmp_path), REDIS_URL="redis://:secret@127.0.0.1:1/0"
    )
    assert done.returncode == 2
    assert "REDIS_URL" in done.stderr.splitlines()[-1]
    assert "secret" not in done.stdout + done.stderr


def test_bad_usage(bench: Bench) -> None:
    done = bench("backends", "--backend", "memory")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "all, postgres, redis" in done.stderr
