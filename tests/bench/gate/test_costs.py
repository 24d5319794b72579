"""What a strategy costs while nobody stops anything: judged by default, in the scenarios as they are shipped."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from bench.analysis.reading import read_run
from bench.cli import gate as cli_gate
from bench.cli.options import GATED, GATED_IN
from bench.experiments.prove.proof import expected_run_s
from bench.gate.family import COSTS, CPU, OPERATIONS
from bench.gate.outcome import Outcome
from bench.gate.regress import METRICS
from bench.workload.plan import counted_apart, select
from bench.workload.scenario import load_scenarios
from tests.bench.fake_gate import CPU_US, OPS_PER_CHAT, write_run
from tests.bench.gate.compared import Compared

DEFAULT = select(scenarios=GATED_IN.split(","), strategies=GATED.split(","))


DUET = {"duet": {"injected_ms": 0.2, "recovered_ms": 0.2, "pairs": 90}}


def judged(
    tmp_path: Path, *, cpu_us: float = CPU_US, ops: float = OPS_PER_CHAT, blocks: int = 6, duet: bool = False
) -> Outcome:
    """The outcome of a gate whose head costs so much."""
    gate = Compared(tmp_path)
    for side, seed, cost in zip(gate.sides, (1, 2), ((CPU_US, OPS_PER_CHAT), (cpu_us, ops)), strict=True):
        side.logs.rmdir()
        side.folder.rmdir()
        write_run(
            side.folder,
            stop_ms={"redis-push": 2.0},
            seed=seed,
            blocks=blocks,
            manifest={"blocks": blocks} | (DUET if duet else {}),
            cpu_us=cost[0],
            ops=cost[1],
        )
        run = read_run(side.folder)
        side.manifest, side.cases, side.chats = run.manifest, run.cases, run.chats
    return gate.judge()


def test_by_default_a_scenario_is_measured_in_which_costs_are_judged() -> None:
    calm = {each.name for each in load_scenarios(GATED_IN.split(",")) if not each.abort_share}
    assert calm == {"steady"}
    assert set(COSTS) <= set(METRICS)
    assert "steady" in _default_of_aa()


def _default_of_aa() -> list[str]:
    return str(inspect.signature(cli_gate.aa).parameters["scenario"].default).split(",")


def test_the_same_costs_are_equivalent(tmp_path: Path) -> None:
    outcome = judged(tmp_path)
    assert (outcome.verdict, outcome.exit_code) == ("equivalent", 0)
    assert {each.metric for each in outcome.findings if each.case.scenario == "steady"} >= set(COSTS)
    assert not [each for each in outcome.findings if each.case.scenario == "flowing" and each.metric in COSTS]


def test_in_a_duet_turns_show_operations_only_and_cpu_time_is_that_of_shared_loads(tmp_path: Path) -> None:
    same = {(each.case.scenario, each.metric) for each in judged(tmp_path / "same", duet=True).findings}
    assert {metric for scenario, metric in same if scenario == "steady"} == set(OPERATIONS)
    assert ("flowing", CPU) in same
    more = judged(tmp_path / "more", duet=True, cpu_us=1.2 * CPU_US).having("worse")
    assert {(each.case.scenario, each.metric) for each in more} == {("flowing", CPU)}


@pytest.mark.parametrize(
    ("cpu_us", "ops", "metrics"),
    [
        (5 * CPU_US, OPS_PER_CHAT, {"server_cpu_us_per_token"}),
        (1.5 * CPU_US, OPS_PER_CHAT, {"server_cpu_us_per_token"}),
        (CPU_US, OPS_PER_CHAT + 1, {"store_ops_per_chat"}),
    ],
)
def test_a_head_that_costs_more_is_worse(tmp_path: Path, cpu_us: float, ops: float, metrics: set[str]) -> None:
    outcome = judged(tmp_path, cpu_us=cpu_us, ops=ops)
    assert (outcome.verdict, outcome.exit_code) == ("worse", 1)
    assert metrics <= {each.metric for each in outcome.having("worse")} <= {*metrics, "store_ops_per_token"}


def test_two_sides_count_postgres_operations_in_every_block_and_one_side_once() -> None:
    cases = [case for case in DEFAULT if case.strategy == "postgres-push"]
    steady = [case for case in cases if case.scenario.name == "steady"]
    for again, compared, expected in (
        (False, False, steady), (True, False, []), (False, True, steady), (True, True, steady)
    ):  # fmt: skip
        assert counted_apart(cases, again=again, compared=compared) == expected
    flowing = [case for case in cases if case.scenario.name == "flowing"]
    assert counted_apart(flowing, again=False, compared=True) == flowing
    assert counted_apart(flowing, again=True, compared=True) == []


def test_the_help_says_how_long_the_first_block_is() -> None:
    said_s = float(cli_gate.FIRST_BLOCK.split()[1])
    assert said_s == pytest.approx(expected_run_s("drop", DEFAULT, 12), rel=0.15)
