"""Small real runs of two blocks: whose turn it is, and in which block operations are counted."""

from pathlib import Path

import pytest

from bench.workload.plan import Case
from tests.bench.small_runs import cases_of, chats_of, execute, manifest_of, schedule_of, shrink_the_instrument, small

pytestmark = pytest.mark.timeout(300)  # four services after each other, on a busy machine


@pytest.fixture(autouse=True)
def _small_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_the_instrument(monkeypatch)


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
        assert special == [*arms, ("floor", 0)]  # sides are compared with each other, not with the floor
        assert [row["block"] for row in schedule_of(folder) if row["scenario"] == "flowing"] == [0, 1]
        ids = [row["request_id"] for row in chats_of(folder)]
        assert len(ids) == len(set(ids)) == 16 + 8 + 2 * 6
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
