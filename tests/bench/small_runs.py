"""Small real runs for tests: few chats, everything else as in a large one; and what such a run has written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.analysis.metrics import ChatMetrics as Chat
from bench.record.writer import SCHEDULE, Results
from bench.run import campaign as runner
from bench.run import duet
from bench.run.campaign import Run
from bench.run.duet import Pairing
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import Measured
from bench.run.settings import Settings
from bench.run.subject import NO_ENVIRONMENT, Side
from bench.workload.plan import Case
from bench.workload.scenario import FOLDER, Scenario, load_scenario
from tests.bench.typed import measure

Row = dict[str, Any]
SETTINGS = Settings("redis", workers=2, quick=True, seed=1, label="test")


def small(name: str, **changes: Any) -> Scenario:
    """A scenario of the catalogue with these settings changed."""
    return replace(load_scenario(FOLDER / f"{name}.toml"), **changes)


def shrink_the_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Floor and calibration with a few chats: for tests that ask whether they are there, not what they find."""
    for name, case, chats in (("FLOOR_CASE", FLOOR_CASE, 8), ("CALIBRATION_CASE", CALIBRATION_CASE, 16)):
        scenario = replace(case.scenario, chats=chats, output_tokens=min(40, case.scenario.output_tokens))
        monkeypatch.setattr(runner, name, replace(case, scenario=scenario))
    case = duet.DUET_CASE
    monkeypatch.setattr(duet, "DUET_CASE", replace(case, scenario=replace(case.scenario, chats=16)))


def execute(
    parent: Path,
    cases: Sequence[Case],
    *,
    sides: Sequence[str] = ("",),
    blocks: int = 1,
    environment: Mapping[str, str] = NO_ENVIRONMENT,
    pairing: Pairing | None = None,
) -> list[Path]:
    """Measure; gives the results folder of each side."""
    both = [Measured(Side(name), Results(parent, name or "test")) for name in sides]

    def more(done: int, _took_s: float, _medians_ms: Mapping[str, Sequence[float]]) -> bool:
        return done < blocks

    settings = replace(SETTINGS, environment=environment)
    Run(cases, settings, both, Console(quiet=True), more=more, pairing=pairing).execute()
    return [each.results.folder for each in both]


def chats_of(folder: Path) -> list[Row]:
    """All rows of chats.jsonl.gz."""
    return _gzipped(folder / "chats.jsonl.gz")


def schedule_of(folder: Path) -> list[Row]:
    """All rows of schedule.jsonl.gz."""
    return _gzipped(folder / SCHEDULE)


def cases_of(folder: Path) -> list[Row]:
    """All rows of cases.jsonl."""
    return [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]


def manifest_of(folder: Path) -> Row:
    """The manifest."""
    manifest: Row = json.loads((folder / "manifest.json").read_text())
    return manifest


def fates_of(rows: Sequence[Row], scenario: Scenario) -> list[Chat]:
    """What each row measured."""
    return [measure(row, scenario.settings()) for row in rows]


def _gzipped(path: Path) -> list[Row]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]
