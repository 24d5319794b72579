"""Comparisons over blocks: effects and p values known by hand, the verdict's words, who is compared with whom."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from bench.analysis.blocks import block_values
from bench.analysis.comparison import Comparison, compare, corrected, floor_spread_ms, verdict
from bench.analysis.reading import CaseKey, read_run
from bench.analysis.summary import summarise
from bench.stats.paired import holm, paired
from bench.stats.percentiles import MIN_SAMPLES
from tests.bench import fake_results as fake

STRATEGIES = ("redis-push", "redis-timer", "memory-push", "disconnect", "none")


def test_a_comparison_is_paired_by_block() -> None:
    base = {0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0, 4: 16.0, 9: 1000.0}
    half = {block: value / 2 for block, value in base.items() if block != 9} | {7: 5.0}
    found = compare(half, base)
    assert found is not None
    assert (found.blocks, found.p) == (5, 0.0)
    assert found.ratio == pytest.approx(0.5)
    assert found.ratio_ci95 == pytest.approx((0.5, 0.5))
    assert found.shift == pytest.approx(paired([-0.5, -1, -2, -4, -8]).estimate)
    assert compare({0: 1.0}, {1: 1.0}) is None


def test_fewer_than_five_common_blocks_give_an_effect_and_no_verdict() -> None:
    found = compare(dict.fromkeys(range(4), 1.0), dict.fromkeys(range(9), 2.0))
    assert found is not None
    assert (found.blocks, found.shift, found.ratio_ci95, found.p) == (4, -1, None, None)
    assert found.ratio == pytest.approx(0.5)
    assert verdict(found, found.p) == "needs 5 blocks"


def test_zero_has_no_ratio_but_a_shift() -> None:
    found = compare(dict.fromkeys(range(5), 0.0), {block: 1.0 + block for block in range(5)})
    assert found is not None
    assert (found.ratio, found.ratio_ci95, found.shift) == (None, None, -3)
    assert found.p == pytest.approx(float(stats.ttest_1samp([1, 2, 3, 4, 5], 0).pvalue))


@pytest.mark.parametrize(
    ("shift", "p_holm", "floor", "words"),
    [
        (-0.5, 0.01, 0.2, "faster"),
        (0.5, 0.01, None, "slower"),
        (0.5, 0.05, 0.2, "not told apart"),
        (0.1, 0.01, 0.2, "below the floor: not claimed"),
        (-0.1, 0.01, 0.2, "below the floor: not claimed"),
        (0.1, 0.2, 0.2, "not told apart"),
        (0.1, None, 0.2, "needs 5 blocks"),
    ],
)
def test_the_verdict_s_words(shift: float, p_holm: float | None, floor: float | None, words: str) -> None:
    assert verdict(Comparison(8, shift, None), p_holm, floor) == words


def test_correction_is_over_those_that_have_a_p_value() -> None:
    rng = random.Random(2)
    tables = [{block: 1 + rng.random() for block in range(blocks)} for blocks in (8, 8, 8, 3)]
    found = corrected((index, 0, tables[index], tables[0]) for index in (1, 2, 3))
    p_values = [each.p for _a, _b, each, _p in found]
    assert p_values[2] is None
    assert [p for *_names, p in found] == [*holm([p for p in p_values if p is not None]), None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of six blocks with floor and calibration, summarised."""
    folder = tmp_path_factory.mktemp("blocks")
    scenarios = ["flowing", "steady"]
    fake.write(folder, strategies=STRATEGIES, scenarios=scenarios, chats=20, blocks=6, special=True)
    return {"folder": folder, "summary": msgspec.to_builtins(summarise(folder))}


def test_a_block_s_value_is_the_median_of_its_own_chats(run: dict[str, Any]) -> None:
    read = read_run(run["folder"])
    values = block_values(read)
    key = CaseKey("redis-push", "flowing", 2, 50)
    stops = [chat.measured.upstream_stop_ms for chat in read.chats if chat.key == key and chat.block == 3]
    assert values[key, "upstream_stop_ms"][3] == np.median([stop for stop in stops if stop is not None])
    assert set(values[key, "chats_per_s"]) == set(values[key, "server_cpu_us_per_token"]) == set(range(6))
    assert (key, "ttft_unstopped_ms") not in values  # every chat of it was aborted
    steady = CaseKey("redis-push", "steady", 2, 50)
    assert values[steady, "itl_unstopped_ms"][0] == pytest.approx(20)
    assert (CaseKey("none", "flowing", 2, 50), "upstream_stop_ms") not in values


def test_a_block_of_a_handful_gives_no_median(tmp_path: Path) -> None:
    folder = fake.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=MIN_SAMPLES - 1, blocks=2)
    values = block_values(read_run(folder))
    assert {metric for _key, metric in values} == {
        "itl_ms", "chats_per_s", "tokens_per_s", "server_cpu_us_per_token", "store_ops_per_token", "store_ops_per_chat",
        "service_cpu_s_per_1000_chats",
    }  # fmt: skip


def test_everybody_meets_the_quickest_contender_and_his_neighbour_once(run: dict[str, Any]) -> None:
    """memory-push misses half, so it ranks behind redis-timer although its stops are quick."""
    found = run["summary"]["comparisons"]
    assert [(each["a"], each["b"], each["verdict"]) for each in found] == [
        ("redis-timer", "redis-push", "slower"),
        ("memory-push", "redis-push", "not told apart"),
        ("redis-push", "disconnect", "slower"),
        ("memory-push", "redis-timer", "faster"),
    ]
    assert {(each["scenario"], each["metric"], each["blocks"]) for each in found} == {
        ("flowing", "upstream_stop_ms", 6)
    }
    timer = found[0]
    assert list(timer) == ["scenario", "workers", "streams", "a", "b", "metric", "blocks", "shift_ms", "ratio", "ci95",
                           "p", "p_holm", "verdict"]  # fmt: skip
    assert timer["ci95"]["shift_ms"][0] < 50 < timer["ci95"]["shift_ms"][1]
    assert timer["ci95"]["ratio"][0] < timer["ratio"] < timer["ci95"]["ratio"][1]
    assert timer["p"] < timer["p_holm"] < 0.05


def test_a_difference_below_the_floor_itself_is_not_claimed_either(tmp_path: Path) -> None:
    rng = random.Random(1)
    floor = [fake.chat("floor", "floor", index, rng) for index in range(60)]
    for row in floor:  # it scatters by nothing, and is half a millisecond
        row["witness"]["lost_ns"] = row["abort"]["sent_ns"] + 500_000
    fake.write_raw(tmp_path, fake.manifest(), floor, [fake.case("floor", "floor", floor, rng)])
    assert floor_spread_ms(read_run(tmp_path)) == pytest.approx(0.5)


def test_what_the_floor_scatters_is_not_claimed(tmp_path: Path) -> None:
    what = {"strategies": ["redis-push", "disconnect"], "scenarios": ["flowing"], "chats": 60, "blocks": 8}
    folder = fake.write(tmp_path, **what)  # type: ignore[arg-type] # forwarded as they are
    assert floor_spread_ms(read_run(folder)) is None
    assert summarise(folder).comparisons[0].verdict == "slower"
    rng = random.Random(1)
    floor = [fake.chat("floor", "floor", index, rng) for index in range(60)]
    for index, row in enumerate(floor):  # every other stop of the floor takes 3 ms: more than the two are apart
        row["witness"]["lost_ns"] = row["abort"]["sent_ns"] + (3_000_000 if index % 2 else 200_000)
    with gzip.open(folder / "chats.jsonl.gz", "at", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in floor)
    with (folder / "cases.jsonl").open("a") as lines:
        lines.write(json.dumps(fake.case("floor", "floor", floor, rng)) + "\n")
    assert floor_spread_ms(read_run(folder)) == pytest.approx(2.8)
    (comparison,) = summarise(folder).comparisons
    assert comparison.p_holm is not None
    assert comparison.p_holm < 0.001
    assert comparison.verdict == "below the floor: not claimed"


def test_floor_and_calibration_are_no_cases_and_in_no_comparison(run: dict[str, Any]) -> None:
    summary = run["summary"]
    assert summary["valid"], summary["problems"]
    assert {case["strategy"] for case in summary["cases"]} == set(STRATEGIES)
    assert {case["scenario"] for case in summary["cases"]} == {"flowing", "steady"}
    assert not any("floor" in (each["a"], each["b"]) or "calibration" in each["a"] for each in summary["comparisons"])
    assert not any("floor" in each["says"] or "calibration" in each["says"] for each in summary["controls"])
