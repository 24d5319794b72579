"""Floor and calibration by themselves: everything is started, measured, judged and stopped again."""

from collections.abc import Iterable, Sequence

import msgspec
from rich.table import Table

from bench.analysis import calibration, health
from bench.analysis.metrics import measure
from bench.experiments.frame import measuring, write_json
from bench.experiments.tables import Row, written
from bench.record.schema import CaseRow, ChatRow
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import settings_of
from bench.run.rig import Kept, Say
from bench.run.subject import calibrated
from bench.stats.percentiles import describe

FILE = "calibration.json"
CASES = (FLOOR_CASE, CALIBRATION_CASE)
SCENARIOS = {case.scenario.name: settings_of(case) for case in CASES}


def calibrate_once(results: Kept, say: Say, *, seed: int) -> Row:
    """Measure once, and write calibration.json: `{"floor", "calibration", "problems"}`, the first two as in a run's
    summary; `problems` are those of the calibration and of the instrument's health. Raises ChildError.
    """
    with measuring(results, say, "calibrate", {"strategies": []}, CASES, seed=seed) as bench:
        rows, line = bench.measure(FLOOR_CASE, 0)
        with calibrated(bench.rig.mock, results.logs / "calibrated.log") as service:
            more, other = bench.measure(CALIBRATION_CASE, 0, bench.subject(service))
        found = judged([*rows, *more], [line, other])
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


def calibration_table(records: Sequence[Row]) -> Table:
    """A line per calibration."""
    return written("calibration", records=records)
