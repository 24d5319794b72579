"""Floor and calibration by themselves: everything is started, measured, judged and stopped again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.analysis import calibration, health
from bench.analysis.metrics import measure
from bench.load.driver import processes_for
from bench.record.writer import utc_now
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import Measured, Subject
from bench.run.rig import Kept, Row, Say, note_case, rig
from bench.run.rig import describe as describe_run
from bench.run.subject import Side, calibrated
from bench.stats.percentiles import describe

FILE = "calibration.json"
SCENARIOS = {case.scenario.name: case.scenario.settings() for case in (FLOOR_CASE, CALIBRATION_CASE)}


class Record(Kept):
    """A results folder that remembers all it was given: a calibration is three cases at once."""

    def __init__(self, parent: Path, label: str) -> None:
        super().__init__(parent, label)
        self.every_chat: list[Row] = []
        self.every_case: list[Row] = []

    def append(self, chats: Iterable[Row], case: Row) -> None:
        """Write a finished case down, and keep it at hand with those before."""
        super().append(chats, case)
        self.every_chat += self.rows
        self.every_case.append(case)


def calibrate_once(results: Record, say: Say, *, seed: int) -> Row:
    """Measure once, and write calibration.json: `{"floor", "calibration", "problems"}`, the first two as in a run's
    summary; `problems` are those of the calibration and of the instrument's health. Raises ChildError.
    """
    manifest = describe_run("calibrate", {"strategies": []}, seed=seed, quick=False)
    for case in (FLOOR_CASE, CALIBRATION_CASE):
        note_case(manifest, case)
    try:
        results.write_manifest(manifest)
        with rig(results, say, processes=processes_for([FLOOR_CASE, CALIBRATION_CASE]), seed=seed) as mine:
            into = [Measured(Side(), results)]
            mine.meter.measure(FLOOR_CASE, 0, Subject(mine.mock, into))
            with calibrated(mine.mock, results.logs / "calibrated.log") as service:
                mine.meter.measure(CALIBRATION_CASE, 0, Subject(service, into))
        found = judged(results.every_chat, results.every_case)
        (results.folder / FILE).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        manifest["complete"] = True
    finally:
        manifest["ended_utc"] = utc_now()
        results.write_manifest(manifest)
    return found


def judged(rows: Iterable[Row], lines: Iterable[Row]) -> Row:
    """What the chats and the rows of cases.jsonl say: pure."""
    pairs = [(row["strategy"], measure(row, SCENARIOS[row["scenario"]])) for row in rows]
    found = calibration.calibrate(pairs)
    unwell = [f"{line['scenario']}: {problem}" for line in lines for problem in health.problems(line)]
    return {
        "floor": describe(calibration.floor_samples(pairs)),
        "calibration": msgspec.to_builtins(found),
        "problems": [*calibration.problems(found), *dict.fromkeys(unwell)],
    }
