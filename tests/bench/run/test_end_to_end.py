"""Small real runs: everything started, measured, written down, and stopped again, however the run ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.system.embedded import temporary_folder
from bench.system.procs import ChildError
from bench.workload.plan import Case
from tests.bench.small_runs import cases_of, chats_of, execute, manifest_of, schedule_of, shrink_the_instrument, small
from tests.bench.typed import measure

FLOWING = small("flowing", rate_per_s=None, streams=6, chats=18, output_tokens=30)


@pytest.fixture(autouse=True)
def _small_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_the_instrument(monkeypatch)


def measured(tmp_path: Path, strategy: str, **environment: str) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    (folder,) = execute(tmp_path, [Case(strategy, FLOWING, 2)], environment=environment)
    cases = cases_of(folder)
    assert [case["scenario"] for case in cases] == ["calibration"] * 3 + ["floor", "flowing"]
    return folder, [row for row in chats_of(folder) if row["strategy"] == strategy], cases[-1]


@pytest.mark.parametrize("strategy", ["redis-push", "postgres-push", "disconnect"])
def test_a_strategy_is_measured_end_to_end(tmp_path: Path, strategy: str) -> None:
    with temporary_folder("watch"):  # the reaper is there from now on, and stays
        before = set(psutil.Process().children(recursive=True))
    folder, rows, case = measured(tmp_path, strategy)
    each = [measure(row) for row in rows]
    aborted = round(FLOWING.abort_share * FLOWING.chats)
    assert [row["index"] for row in rows] == list(range(FLOWING.chats))
    assert [(one.outcome, one.error) for one in each].count(("stopped", None)) == aborted
    assert [(one.outcome, one.error) for one in each].count(("plain", None)) == FLOWING.chats - aborted
    assert all(0 < one.upstream_stop_ms < 1000 for one in each if one.upstream_stop_ms is not None)
    for row in rows:  # one clock: what happened first has the smaller stamp
        client, service, witness = row["client"], row["service"], row["witness"]
        assert client["sent_ns"] < service["received_ns"] < witness["received_ns"] < witness["token_ns"][0]
        assert witness["headers_ns"] < client["token_ns"][0] <= client["end_ns"]
        # The witness stamps a token after it has written it, so the client may have it some microseconds before.
        assert witness["token_ns"][0] - client["token_ns"][0] < 1e6
        if row["abort"] is not None:
            sent_after_ms = (row["abort"]["sent_ns"] - client["sent_ns"]) / 1e6
            assert row["abort"]["after_ms"] - 1 < sent_after_ms < row["abort"]["after_ms"] + 100
            if strategy != "disconnect":
                assert row["abort"]["sent_ns"] < service["abort_received_ns"] < row["abort"]["ack_ns"]
                assert (client["finish_reason"], service["finish_reason"]) == ("abort", "abort")
                assert row["abort"]["outcome"] == service["abort_outcome"] == "accepted"
    assert case["tokens"] == sum(len(row["client"]["token_ns"]) for row in rows) > 0
    assert case["service_cpu_s"] > 0
    assert case["ended_ns"] > case["started_ns"]
    if strategy == "disconnect":
        assert case["store_ops"] is None
    else:  # at least register and release; and neither one per token, nor what starting and warming up cost
        most = {"redis-push": 12, "postgres-push": 6}[strategy]
        assert 2 * FLOWING.chats <= case["store_ops"] <= most * FLOWING.chats
    manifest = manifest_of(folder)
    assert manifest["complete"] is True
    assert manifest["quick"] is True
    assert manifest["asgi"]["server"].startswith("uvicorn ")
    assert "password" not in json.dumps(manifest)
    assert "://" not in json.dumps(manifest)
    assert manifest["environment"] == {}
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_service_that_cannot_start_keeps_the_run_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"(?s)server ended with exit code 4 .*abort_ttl_s"):
        measured(tmp_path, "redis-push", ABORT_TTL_S="never")
    (folder,) = tmp_path.iterdir()  # `latest` was not touched
    assert manifest_of(folder)["complete"] is False
    assert "abort_ttl_s" in (folder / "logs" / "server-redis-push-2.log").read_text()


def test_two_sides_are_measured_in_turn_and_share_the_instrument(tmp_path: Path) -> None:
    tiny = small("flowing", chats=6, output_tokens=25)
    base, head = execute(tmp_path, [Case("memory-push", tiny, 1)], sides=("base", "head"), blocks=2)
    both = {"base": cases_of(base), "head": cases_of(head)}
    for side, folder in (("base", base), ("head", head)):
        assert manifest_of(folder)["side"] == side
        assert manifest_of(folder)["blocks"] == 2
        assert manifest_of(folder)["complete"] is True
        special = [(row["strategy"], row["block"]) for row in both[side] if row["scenario"] != "flowing"]
        arms = [(f"calibration-{arm}", 0) for arm in ("instant", "delay", "drop")]
        assert special == [*arms, ("floor", 0), ("floor", 1)]
        assert [row["block"] for row in schedule_of(folder) if row["scenario"] == "flowing"] == [0, 1]
        ids = [row["request_id"] for row in chats_of(folder)]
        assert len(ids) == len(set(ids)) == 16 + 2 * 8 + 2 * 6
    assert schedule_of(base) == schedule_of(head)
    instrument = {side: [row for row in rows if row["scenario"] != "flowing"] for side, rows in both.items()}
    assert instrument["base"] == instrument["head"]
    turns = sorted(
        (row["started_ns"], row["block"], side)
        for side, rows in both.items()
        for row in rows
        if row["scenario"] == "flowing"
    )
    assert [turn[1:] for turn in turns] == [(0, "base"), (0, "head"), (1, "head"), (1, "base")]


def test_postgres_operations_are_counted_in_the_first_block_where_nobody_stops(tmp_path: Path) -> None:
    steady = small("steady", streams=6, chats=12, output_tokens=20)
    flowing = small("flowing", chats=6, output_tokens=25)
    (folder,) = execute(tmp_path, [Case("postgres-poll", scenario, 2) for scenario in (flowing, steady)], blocks=2)
    counted = {(row["scenario"], row["block"]): row["store_ops"] for row in cases_of(folder) if row["store"]}
    assert {key: count is not None for key, count in counted.items()} == {
        ("flowing", 0): False, ("flowing", 1): False, ("steady", 0): True, ("steady", 1): False,
    }  # fmt: skip
    reads = 12 * 20  # one per token, and a few per chat; what a start costs, which is taken off, varies by some
    assert reads <= counted["steady", 0] <= reads + 6 * 12
    (line,) = [row for row in cases_of(folder) if (row["scenario"], row["block"]) == ("steady", 0)]
    assert line["connections"] >= 2  # each worker holds at least one
    assert line["store_cpu_s"] > 0
    assert line["rate_per_s"] is None


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def under_way(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A run that has finished its first case and is loading the second, with all the processes it started."""
    arguments = ["--backend", "redis", "--quick", "--scenario", "first-token,steady", "--results"]
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.shrunk", "run", *arguments, str(tmp_path / "results")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with run:
        assert run.stdout is not None
        while "steady" not in (line := run.stdout.readline()):  # where nobody stops anything: it comes first
            assert line, "the run ended before its first case was finished"
        family: list[psutil.Process] = []
        orders = tmp_path.glob("stopwatch-run-*/order-0-3.json")  # after calibration, floor and steady: first-token
        deadline = time.monotonic() + 20
        while not any(orders) or not family:
            assert time.monotonic() < deadline
            orders = tmp_path.glob("stopwatch-run-*/order-0-3.json")
            family = psutil.Process(run.pid).children(recursive=True)
        yield run, family
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("signum", "whom"),
    [(signal.SIGINT, "process"), (signal.SIGINT, "group"), (signal.SIGTERM, "process"), (signal.SIGKILL, "process")],
)
def test_nothing_is_left_of_an_interrupted_run(
    tmp_path: Path, under_way: tuple[subprocess.Popen[str], list[psutil.Process]], signum: int, whom: str
) -> None:
    run, family = under_way
    assert len(family) >= 6  # reaper, stores, mock, locust, and the service with its workers
    (os.killpg if whom == "group" else os.kill)(run.pid, signum)
    _, errors = run.communicate(timeout=30)
    deadline = time.monotonic() + 15
    while not all(gone(process) for process in family) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [process for process in family if not gone(process)] == []
    assert list(tmp_path.glob("stopwatch-*")) == []
    (folder,) = (tmp_path / "results").iterdir()
    cases = (folder / "cases.jsonl").read_text().splitlines()
    assert [json.loads(line)["scenario"] for line in cases] == ["calibration"] * 3 + ["floor", "steady"]
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False
    if signum != signal.SIGKILL:
        assert run.returncode == 130
        assert "Traceback" not in errors
        assert str(folder) in errors
