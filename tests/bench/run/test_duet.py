"""Two sides in one load, for real: every chat reaches its own side, and a delay of one side is found again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from bench.analysis.calibration import pair_problems
from bench.record.manifest import Duet
from bench.record.writer import Results
from bench.run.duet import Always, calibrate, shares_load
from bench.run.meter import Measured
from bench.run.rig import rig
from bench.run.subject import Side, calibrated
from bench.workload.plan import Case
from tests.bench.small_runs import cases_of, chats_of, execute, manifest_of, schedule_of, shrink_the_instrument, small

ATTEMPTS = 6
pytestmark = pytest.mark.timeout(300)


def test_a_side_that_is_slower_by_a_fifth_of_a_millisecond_comes_out_as_that(tmp_path: Path) -> None:
    sides = [Measured(Side(name), Results(tmp_path, name)) for name in ("base", "head")]
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(rig(sides[0].results, lambda _what: None, processes=1, seed=1))
        services = [stack.enter_context(calibrated(running.mock, tmp_path / f"{name}.log")) for name in "ab"]
        for _attempt in range(ATTEMPTS):  # a busy machine
            found = calibrate(running.meter, services, sides)
            if not pair_problems(found):
                break
    assert found.pairs > 150
    assert found.recovered_ms == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize(
    ("recovered", "wrong"), [(0.2, False), (0.29, False), (0.11, False), (0.31, True), (0.0, True), (None, True)]
)
def test_another_delay_makes_the_measurement_invalid(recovered: float | None, wrong: bool) -> None:
    found = pair_problems(Duet(injected_ms=0.2, recovered_ms=recovered, pairs=90))
    assert bool(found) == wrong
    assert pair_problems(None) == []


def test_both_sides_share_a_load_and_keep_their_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_the_instrument(monkeypatch)
    case = Case("redis-push", small("flowing", chats=12, output_tokens=30, abort_margin_ms=100.0), 1)
    steady = Case("redis-push", small("steady", chats=6, output_tokens=10), 1)
    base, head = execute(tmp_path, [case, steady], sides=("base", "head"), pairing=Always())
    sent = {}
    for name, folder in (("base", base), ("head", head)):
        rows = [row for row in chats_of(folder) if row["scenario"] == "flowing"]
        assert [row["index"] for row in rows] == list(range(12))
        assert all(f"-{name}-" in row["request_id"] for row in rows)
        assert all(row["service"]["pid"] for row in rows)
        sent[name] = {row["index"]: row["client"]["sent_ns"] for row in rows}
        flowing, calm = ([row for row in cases_of(folder) if row["scenario"] == each] for each in ("flowing", "steady"))
        assert [row["store_ops"] for row in flowing] == [None]  # those of both sides together are of no use
        assert calm[0]["store_ops"] > 0
        assert flowing[0]["chats_planned"] == 12
        assert flowing[0]["service_cpu_s"] > 0
        assert manifest_of(folder)["duet"]["injected_ms"] == 0.2
        (planned,) = [row for row in schedule_of(folder) if row["scenario"] == "flowing"]
        assert [chat["index"] for chat in planned["chats"]] == list(range(12))
    pids = [
        {row["service"]["pid"] for row in chats_of(folder) if row["scenario"] == "flowing"} for folder in (base, head)
    ]
    assert not pids[0] & pids[1]
    order = sorted((sent_ns, index) for moments in sent.values() for index, sent_ns in moments.items())
    assert [index for _, index in order] == [index for index in range(12) for _ in range(2)]


def test_a_scenario_without_aborts_is_measured_in_turns() -> None:
    assert shares_load(Case("redis-push", small("flowing"), 2))
    assert not shares_load(Case("redis-push", small("steady"), 2))
