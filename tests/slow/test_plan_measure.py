"""The measurement behind a plan, on a real store and a real service, with small loads."""

from pathlib import Path

import pytest

from bench.experiments.plan import fanout, measure
from bench.experiments.plan.measure import Request
from bench.record.base import read_file
from bench.record.plan import PlanKnee, PlanRecord
from bench.run.rig import Kept


def test_each_load_of_a_strategy_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "QUICK_LEAST_CHATS", 20)
    monkeypatch.setattr(measure, "LONG_TOKENS", 100)
    monkeypatch.setattr(measure, "VALIDATIONS", ("60",))
    monkeypatch.setattr(measure, "QUICK_LOAD_S", 1.0)
    monkeypatch.setattr(fanout, "QUICK_MESSAGES", 80)
    knee = PlanKnee(chats_per_s=40.0, limit_ms=25.0, ended_by="slow")
    kept, logged = Kept(tmp_path, "plan"), list[str]()
    request = Request(["redis-poll"], 2, quick=True, seed=1, knees={"redis-poll": knee})
    record = measure.measure(request, kept, lambda _step: None, logged.append)
    written = read_file(kept.folder / "plan.json", PlanRecord)
    assert [each.strategy for each in written.strategies] == ["redis-poll"]
    (found,) = record.strategies
    assert found.knee == knee
    assert found.held is not None
    assert 0 < found.held.worker_mb < 1000
    assert found.held.connections
    loads = {each.name: each for each in found.loads}
    assert list(loads) == ["60", "fit", "long", "short"]
    assert len(logged) == 4
    for each in loads.values():
        assert each.service_cpu_s > 0
        assert each.others_cpu_s > 0
        assert each.chats >= 20
    assert (loads["long"].stops, loads["short"].stops) == (0, 0)
    assert loads["fit"].stops > 10
    assert loads["fit"].stop_mean_ms is not None
    assert loads["fit"].path_mean_ms is not None
    assert 0 < loads["fit"].path_mean_ms < loads["fit"].stop_mean_ms
    # A poll reads once per chunk.
    assert loads["long"].store_ops == pytest.approx(loads["long"].chunks, rel=0.2)
    assert loads["60"].store_ops is None
