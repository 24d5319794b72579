"""Blocks that disturb a side in a shared load are measured again in turns, where it shows which side it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.gate.margins import DEFAULTS
from bench.gate.pairing import GatePairing, MeasuredSide, longer
from bench.gate.regress import Evidence
from bench.record.manifest import Duet, Manifest, ScenarioSettings
from bench.record.schema import CaseRow, ChatRow
from bench.run.meter import Measured, Subject, Taken
from bench.run.subject import Side
from bench.workload.plan import Case
from bench.workload.scenario import FOLDER, load_scenario, load_scenarios
from tests.bench.fake_gate import FLOWING, chat_row, lost
from tests.bench.gate.test_overload import BAD, row

CASE = Case("redis-push", load_scenarios(["flowing"])[0], 2)
GOOD: dict[str, Any] = {"streams": FLOWING["streams"]}


@pytest.fixture
def sides(tmp_path: Path) -> list[MeasuredSide]:
    found = [MeasuredSide(tmp_path, name) for name in ("base", "head")]
    for each in found:
        manifest = Manifest(duet=Duet(injected_ms=0.2, recovered_ms=0.21, pairs=90))
        manifest.scenarios = {"flowing": msgspec.convert(FLOWING, ScenarioSettings)}
        each.write_manifest(manifest)
    return found


def chats(block: int, *, loses: bool = False) -> list[ChatRow]:
    rows = [chat_row("redis-push", block, index, 2.0) for index in range(8)]
    return [msgspec.convert(lost(each) if loses and not number else each, ChatRow) for number, each in enumerate(rows)]


def case_row(block: int, what: str = "") -> CaseRow:
    return row(block, **(GOOD | (BAD[what] if what else {})))


def taken(sides: list[MeasuredSide], block: int, base: str = "", head: str = "", *, loses: bool = False) -> list[Taken]:
    service: Any = None
    return [
        Taken(Subject(service, [Measured(Side(), side)]), [(chats(block, loses=loses and side is sides[1]), found)])
        for side, found in zip(sides, (case_row(block, base), case_row(block, head)), strict=True)
    ]


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("at", [0, 1])
def test_a_block_that_is_disturbed_on_either_side_is_not_accepted(
    sides: list[MeasuredSide], what: str, at: int
) -> None:
    pairing = GatePairing(*sides)
    assert pairing.accepts(taken(sides, 0))
    whats = [what if place == at else "" for place in (0, 1)]
    assert not pairing.accepts(taken(sides, 1, *whats))
    assert "1 shared loads were unhealthy" in pairing.notes[-1]


@pytest.mark.parametrize(
    ("base", "head", "wanted"), [("", "", True), ("", "the mock is late", False), ("the mock is late",) * 2 + (True,)]
)
def test_a_case_stays_in_turns_if_head_alone_disturbs_its_turn(
    sides: list[MeasuredSide], base: str, head: str, wanted: bool
) -> None:
    pairing = GatePairing(*sides)
    assert pairing.wanted(CASE)
    pairing.accepts(taken(sides, 0, "the mock is late", "the mock is late"))
    for side, what in zip(sides, (base, head), strict=True):
        side.append(chats(0), case_row(0, what))
    assert pairing.wanted(CASE) == wanted


@pytest.mark.parametrize(
    ("unusable", "wanted"), [([0], True), ([0, 1], False), ([0, 2], False), ([0, 2, 4], False), ([0, 4], True)]
)
def test_a_case_of_which_half_of_the_shared_loads_were_unusable_stays_in_turns(
    sides: list[MeasuredSide], unusable: list[int], wanted: bool
) -> None:
    pairing = GatePairing(*sides)
    for block in range(unusable[-1] + 1):
        bad = "the mock is late" if block in unusable else ""
        assert pairing.accepts(taken(sides, block, bad, bad)) == (not bad)
        for side in sides:
            side.append(chats(block), case_row(block))
    assert pairing.wanted(CASE) == wanted


def test_a_head_that_disturbs_every_load_is_worse_and_not_invalid(sides: list[MeasuredSide]) -> None:
    pairing = GatePairing(*sides)
    for block in range(5):
        if pairing.wanted(CASE):
            assert not pairing.accepts(taken(sides, block, "the mock is late", "the mock is late"))
        for side, what in zip(sides, ("", "the mock is late"), strict=True):
            side.append(chats(block), case_row(block, what))
    found = Evidence(sides[0].run, sides[1].run, DEFAULTS, pairing.set_aside)
    assert [each.rule for each in found.overloads] == ["unhealthy_blocks"]


def test_an_abort_that_is_lost_in_a_load_that_was_measured_again_is_unproven(sides: list[MeasuredSide]) -> None:
    pairing = GatePairing(*sides)
    pairing.accepts(taken(sides, 0, "the mock is late", "the mock is late", loses=True))
    for side in sides:
        side.append(chats(0), case_row(0))
    rules = Evidence(sides[0].run, sides[1].run, DEFAULTS, pairing.set_aside).rules
    assert ([each.rule for each in rules.broken], [each.rule for each in rules.unproven]) == ([], ["missed"])


def test_shared_loads_have_more_chats_at_half_the_rate() -> None:
    flowing, steady = longer([CASE, replace(CASE, scenario=load_scenario(FOLDER / "steady.toml"))])
    assert (flowing.scenario.chats, flowing.scenario.rate_per_s) == (2 * 80, 40)
    assert steady.scenario == load_scenario(FOLDER / "steady.toml")
