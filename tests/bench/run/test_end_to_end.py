"""Small real runs: everything started, measured, written down, and stopped again."""

import json
from pathlib import Path

import psutil
import pytest

from bench.system.embedded import temporary_folder
from bench.system.procs import ChildError
from bench.workload.plan import Case
from tests.bench.small_runs import cases_of, chats_of, execute, manifest_of, shrink_the_instrument, small
from tests.bench.typed import measure

pytestmark = pytest.mark.timeout(300)  # three services after each other, on a busy machine
FLOWING = small("flowing", rate_per_s=None, streams=6, chats=18, output_tokens=75, abort_until_ms=600)
"""Every abort is sent about 1 s before the answer would end, so that it stops its chat on a busy machine, too."""
CLOCK_NS = 100e6
"""Stamps of one clock may be this much out of order: a process stamps an event after it has caused it, and may have
to wait for a core in between. Two clocks would differ by seconds."""
STRATEGIES = ("redis-push", "postgres-push", "disconnect")
ORDER = {strategy: place for place, strategy in enumerate(STRATEGIES, 1)}


@pytest.fixture(autouse=True)
def _small_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_the_instrument(monkeypatch)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of all strategies; no process of it is left."""
    with pytest.MonkeyPatch.context() as patch, temporary_folder("watch"):  # the reaper is there from now on, and stays
        before = set(psutil.Process().children(recursive=True))
        shrink_the_instrument(patch)
        (folder,) = execute(tmp_path_factory.mktemp("run"), [Case(strategy, FLOWING, 2) for strategy in STRATEGIES])
    assert set(psutil.Process().children(recursive=True)) <= before
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_chat_has_its_outcome_and_its_moments_in_order(measured: Path, strategy: str) -> None:
    rows = [row for row in chats_of(measured) if row["strategy"] == strategy]
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
        assert witness["token_ns"][0] - client["token_ns"][0] < CLOCK_NS  # stamped once it is written
        if row["abort"] is not None:
            sent_after_ms = (row["abort"]["sent_ns"] - client["sent_ns"]) / 1e6
            assert row["abort"]["after_ms"] - 1 < sent_after_ms < row["abort"]["after_ms"] + 100
            if strategy != "disconnect":
                assert row["abort"]["sent_ns"] < service["abort_received_ns"] < row["abort"]["ack_ns"]
                assert (client["finish_reason"], service["finish_reason"]) == ("abort", "abort")
                assert row["abort"]["outcome"] == service["abort_outcome"] == "accepted"


def test_the_costs_of_each_case_are_its_own(measured: Path) -> None:
    *special, redis, postgres, disconnect = sorted(cases_of(measured), key=lambda case: ORDER.get(case["strategy"], 0))
    assert [case["scenario"] for case in special] == ["calibration"] * 3 + ["floor"]
    for case in (redis, postgres, disconnect):
        rows = [row for row in chats_of(measured) if row["strategy"] == case["strategy"]]
        assert case["tokens"] == sum(len(row["client"]["token_ns"]) for row in rows) > 0
        assert case["service_cpu_s"] > 0
        assert case["ended_ns"] > case["started_ns"]
    # At least register and release; and neither one per token, nor what starting and warming up cost.
    assert 2 * FLOWING.chats <= redis["store_ops"] <= 12 * FLOWING.chats
    assert 2 * FLOWING.chats <= postgres["store_ops"] <= 6 * FLOWING.chats
    assert disconnect["store_ops"] is None


def test_the_manifest_describes_the_run_and_holds_no_address(measured: Path) -> None:
    manifest = manifest_of(measured)
    assert manifest["complete"] is True
    assert manifest["quick"] is True
    assert manifest["asgi"]["server"].startswith("uvicorn ")
    assert "password" not in json.dumps(manifest)
    assert "://" not in json.dumps(manifest)
    assert manifest["environment"] == {}


def test_a_service_that_cannot_start_keeps_the_run_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"(?s)server ended with exit code 4 .*abort_ttl_s"):
        execute(tmp_path, [Case("redis-push", FLOWING, 2)], environment={"ABORT_TTL_S": "never"})
    (folder,) = tmp_path.iterdir()  # `latest` was not touched
    assert manifest_of(folder)["complete"] is False
    assert "abort_ttl_s" in (folder / "logs" / "server-redis-push-2.log").read_text()
