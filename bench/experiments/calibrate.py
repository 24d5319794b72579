"""Floor and calibration by themselves: everything is started, measured, judged and stopped again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.table import Table

from bench.analysis import calibration, health
from bench.analysis.metrics import measure
from bench.experiments.frame import Bench, recorded, write_json
from bench.experiments.tables import Row, figure, interval, table
from bench.load.driver import processes_for
from bench.record.schema import CaseRow, ChatRow
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import Measured, Subject, settings_of
from bench.run.rig import Kept, Say, rig
from bench.run.subject import Side, calibrated
from bench.stats.percentiles import describe

FILE = "calibration.json"
CASES = (FLOOR_CASE, CALIBRATION_CASE)
SCENARIOS = {case.scenario.name: settings_of(case) for case in CASES}


class Record(Kept):
    """A results folder that keeps all its rows at hand: a calibration is three cases."""

    def __init__(self, parent: Path, label: str) -> None:
        super().__init__(parent, label)
        self.all_chats: list[ChatRow] = []
        self.all_cases: list[CaseRow] = []

    def append(self, chats: Iterable[ChatRow], case: CaseRow) -> None:
        """Write a finished case, and keep it at hand."""
        super().append(chats, case)
        self.all_chats += self.rows
        self.all_cases.append(case)


def calibrate_once(results: Record, say: Say, *, seed: int) -> Row:
    """Measure once, and write calibration.json: `{"floor", "calibration", "problems"}`, the first two as in a run's
    summary; `problems` are those of the calibration and of the instrument's health. Raises ChildError.
    """
    with (
        recorded(results, "calibrate", {"strategies": []}, seed=seed, cases=CASES) as manifest,
        rig(results, say, processes=processes_for(CASES), seed=seed) as mine,
    ):
        bench = Bench(mine, results, manifest, say)
        bench.measure(FLOOR_CASE, 0, bench.upstream())
        with calibrated(mine.mock, results.logs / "calibrated.log") as service:
            bench.measure(CALIBRATION_CASE, 0, Subject(service, [Measured(Side(), results)]))
        found = judged(results.all_chats, results.all_cases)
        write_json(results.folder / FILE, found)
    return found


def judged(rows: Iterable[ChatRow], lines: Iterable[CaseRow]) -> Row:
    """The content of calibration.json, from the chats and the rows of cases.jsonl: pure."""
    pairs = [(row.strategy, measure(row, SCENARIOS[row.scenario])) for row in rows]
    found = calibration.calibrate(pairs)
    unhealthy = [f"{line.scenario}: {problem}" for line in lines for problem in health.problems(line)]
    return {
        "floor": describe(calibration.floor_samples(pairs)),
        "calibration": msgspec.to_builtins(found),
        "problems": [*calibration.problems(found), *dict.fromkeys(unhealthy)],
    }


def calibration_table(records: Iterable[Row]) -> Table:
    """A line per calibration."""
    rows = []
    for number, found in enumerate(records, 1):
        delay_ms, rate = found["calibration"]["delay_ms"]["recovered_p50"], found["calibration"]["drop_rate"]
        lost = f"{rate['lost']} of {found['calibration']['n']['drop']}"
        cells = (figure(found["floor"]["p50"]), figure(delay_ms), lost, figure(rate["recovered"], ".2%"))
        rows.append((str(number), *cells, interval(rate["ci95"], ".2%"), "no" if found["problems"] else "yes"))
    columns = ("time", "floor p50\nms", "delay found\nms", "lost", "drop rate", "95 %", "valid")
    return table("Injected: 10 ms of delay, 1 % of losses", columns, rows)
