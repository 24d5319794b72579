"""The command `plan`: what it prints from a record, and how it refuses."""

import json
from pathlib import Path

import pytest

from bench.analysis.capacity import model_of
from bench.experiments.plan.measure import known_knees
from bench.experiments.plan.text import busy_chunks, doubts, error_row
from bench.record.base import encode_file
from bench.record.host import describe_host
from bench.record.manifest import Host
from tests.bench.command import Bench
from tests.bench.small_plan import plan_record

NAMES = ("redis-push", "redis-poll", "postgres-push")


def results(tmp_path: Path, *, here: bool, folder: str = "plan") -> Path:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "plan.json").write_bytes(encode_file(plan_record(*NAMES, here=here)))
    return tmp_path


def test_a_plan_has_needs_errors_sources_and_a_chart(bench: Bench, tmp_path: Path) -> None:
    done = bench("plan", "--results", str(results(tmp_path, here=True)))
    assert done.returncode == 0
    for words in (
        "1M live streams", "5.26k stops/s", "redis-push, global", "predicted / measured - 1", "7 of 7",
        "knee within 15% in 3 of 3", "2026-11-29T01:02:03Z", "commit 0123456", "https://", "extrapolated",
        "capacity.png",
    ):  # fmt: skip
        assert words in done.stdout, words
    tables = done.stdout.partition("NOTIFYs are.\n")[2].partition("Fitted at")[0]
    assert max(map(len, tables.splitlines())) <= 80
    assert "…" not in done.stdout
    assert (tmp_path / "plan" / "charts" / "capacity.png").exists()


def test_the_committed_record_of_another_machine_is_named_as_such(bench: Bench, tmp_path: Path) -> None:
    done = bench("plan", "--results", str(results(tmp_path, here=False, folder="reference")), "--streams", "2000")
    assert done.returncode == 0
    assert "measured on another machine" in done.stderr
    assert "--measure" in done.stderr


def test_without_a_measurement_it_says_how_to_make_one(bench: Bench, tmp_path: Path) -> None:
    done = bench("plan", "--results", str(tmp_path))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "plan --measure" in done.stderr


@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "1e30", "many"])
@pytest.mark.parametrize("option", ["--streams", "--tokens-per-s", "--answer-s"])
def test_bad_input_is_one_line(bench: Bench, tmp_path: Path, option: str, value: str) -> None:
    done = bench("plan", option, value, "--results", str(tmp_path))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert option in done.stderr


@pytest.mark.parametrize("backend", ["mysql", "memory", "none"])
def test_what_cannot_be_measured_is_refused(bench: Bench, tmp_path: Path, backend: str) -> None:
    done = bench("plan", "--measure", "--backend", backend, "--results", str(tmp_path / "results"))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "redis" in done.stderr
    assert not (tmp_path / "results").exists()


def test_knees_are_those_of_knee_json(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "knee.json"
    path.write_text(json.dumps([{"strategy": "redis-push", "chats_per_s": 93.0, "limit_ms": 25.0, "ended_by": "slow"}]))
    assert known_knees(path)["redis-push"].chats_per_s == 93.0
    path.write_text("{}")
    done = bench("plan", "--measure", "--knees", str(tmp_path / "none.json"), "--results", str(tmp_path))
    assert done.returncode == 4
    assert "--knees" in done.stderr


def test_a_knee_that_was_not_reached_may_lie_above() -> None:
    record = plan_record("redis-push")
    record.strategies[0].knee.ended_by, record.strategies[0].knee.chats_per_s = "load", 100.0
    row = error_row(record, model_of(record), "redis-push")
    assert (row["censored"], row["met"]) == (True, "7 of 7")
    record.strategies[0].knee.ended_by = "slow"
    assert error_row(record, model_of(record), "redis-push")["met"] == "6 of 7"


def test_a_knee_at_which_aborts_were_missed_is_doubted() -> None:
    record = plan_record("redis-push")
    assert doubts(record, model_of(record)) == []
    next(each for each in record.strategies[0].loads if each.name == "100").missed = 16
    assert doubts(record, model_of(record)) == [
        "redis-push: 16 aborts were missed at 100 % of its measured knee, which lies too high"
    ]
    record.strategies[0].held = None
    assert "redis-push is left out" in doubts(record, model_of(record))[0]


def test_the_cost_of_a_busy_chunk_is_that_of_bench_relay_on_the_same_machine(tmp_path: Path) -> None:
    rate, host = {"median": 20_000.0}, describe_host()
    contenders = {
        name: {"cpu_us_per_chunk": {"median": us}, "chunks_per_s": rate}
        for name, us in {"bare": 40.0, "redis-push": 43.2, "redis-poll": 63.8}.items()
    }
    found = {
        "date": "2026-11-28T03:06:47Z",
        "host": {"cpus": host.cpus, "machine": host.machine, "system": "Linux 0"},
        "contenders": contenders,
    }
    (tmp_path / "relay.json").write_text(json.dumps(found))
    known, source = busy_chunks(tmp_path, host)
    assert known == {"redis-push": 43.2, "redis-poll": 63.8}
    assert "43.2 us" in source
    assert "another machine (system is Linux 0 there" in source
    assert busy_chunks(tmp_path, Host(cpus=(host.cpus or 1) + 1, machine=host.machine)) == ({}, "")
    assert busy_chunks(tmp_path / "none", host) == ({}, "")
