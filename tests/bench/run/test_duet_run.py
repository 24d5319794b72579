"""A small real run of two sides in one load: every chat reaches its own side."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.run.duet import Always
from bench.workload.plan import Case
from tests.bench.small_runs import cases_of, chats_of, execute, manifest_of, schedule_of, shrink_the_instrument, small

pytestmark = pytest.mark.timeout(300)


def test_both_sides_share_a_load_and_keep_their_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_the_instrument(monkeypatch)
    case = Case("redis-push", small("flowing", chats=12, output_tokens=30, abort_margin_ms=100.0), 1)
    steady = Case("redis-push", small("steady", chats=6, output_tokens=10), 1)
    base, head = execute(tmp_path, [case, steady], sides=("base", "head"), pairing=Always())
    planned_ns = {}
    for name, folder in (("base", base), ("head", head)):
        rows = [row for row in chats_of(folder) if row["scenario"] == "flowing"]
        assert [row["index"] for row in rows] == list(range(12))
        assert all(f"-{name}-" in row["request_id"] for row in rows)
        assert all(row["service"]["pid"] for row in rows)
        planned_ns[name] = {row["index"]: row["client"]["intended_ns"] for row in rows}
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
    order = sorted((due_ns, index) for moments in planned_ns.values() for index, due_ns in moments.items())
    assert [index for _, index in order] == [index for index in range(12) for _ in range(2)]
