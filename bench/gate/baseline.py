"""The baseline: a run as multiples of its own floor, for comparison with a run of another machine or another day.

Milliseconds of two machines cannot be compared; the ratio to the floor (same machine, same run, no service) roughly
can. The contents of results/baseline.json are described in bench/record/verdict.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.blocks import Block, BlockValues
from bench.analysis.metrics import UNITS
from bench.analysis.reading import CaseKey, Run, UnreadableResults, read_run
from bench.gate import INVALID, GateError
from bench.gate.block_filter import unhealthy_blocks
from bench.gate.family import gate_values
from bench.gate.margins import Margins
from bench.gate.verdict import Margin
from bench.record.base import RecordError, encode_file, read_file
from bench.record.files import replace_file
from bench.record.host import utc_now
from bench.record.summary import Summary
from bench.record.verdict import Baseline, BaselineCase, BaselineMargins, MarginRecord
from bench.stats.paired import MIN_BLOCKS
from bench.workload.strategies import is_special

AGAIN = "make a new one with `make baseline`"
CPU = "server_cpu_us_per_token"
TIMES = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms", CPU)
"""Divided by the floor; from `ttft_ms` the scenario's own delay is subtracted first."""
COUNTS = ("wasted_tokens", "store_ops_per_token", "store_ops_per_chat")
"""Not divided: they do not depend on the machine. Rates and `itl_ms` are set by the scenario and are left out."""
RATIO_UNITS = UNITS | dict.fromkeys(TIMES, "x floor")


@dataclass(frozen=True)
class FullRun:
    """A valid run with enough blocks: the block values of its usable blocks, and the reason for each excluded one."""

    run: Run
    summary: Summary
    values: BlockValues
    excluded: Mapping[Block, str]

    @property
    def floor_ms(self) -> float:
        """The run's own floor. Raises GateError if it was not measured."""
        if not self.summary.floor or not self.summary.floor.p50:
            raise GateError(f"{self.run.folder} has no floor: measure again with this version (`make bench`)")
        return self.summary.floor.p50


def load(folder: Path) -> FullRun:
    """Read a run. Raises GateError: no results (4), QUICK (4), too few blocks (4), invalid (2)."""
    try:
        run = read_run(folder)
        summary = read_file(folder / "summary.json", Summary)
    except UnreadableResults as error:
        raise GateError(str(error)) from error
    except (OSError, RecordError) as error:
        raise GateError(f"{error}; `make report RUN_DIR={folder}` writes the summary again") from error
    if run.manifest.is_quick:
        raise GateError(f"{folder} is a QUICK run, which yields no verdict: run `make bench` without QUICK=1")
    if not summary.valid:
        cause = "; ".join(summary.problems or ["no reason given"])
        raise GateError(f"{folder} is not valid, so it cannot be compared: {cause}", INVALID)
    blocks = len({row.block for row in run.cases})
    if blocks < MIN_BLOCKS:
        raise GateError(f"{folder} has too few blocks ({blocks}, a verdict needs {MIN_BLOCKS}): give the run more time")
    excluded = unhealthy_blocks(run)
    return FullRun(run, summary, gate_values(run, excluded), excluded)


def ratios(run: FullRun) -> dict[tuple[CaseKey, str], dict[int, float]]:
    """The run's block values as multiples of its floor, and counts as they are. Raises GateError without a floor."""
    floor_ms, scenarios = run.floor_ms, run.run.manifest.scenarios
    found = {}
    for (case, metric), blocks in run.values.items():
        if is_special(case.scenario) or metric not in (*TIMES, *COUNTS):
            continue
        planned_ms = scenarios[case.scenario].ttft_ms if metric == "ttft_ms" and case.scenario in scenarios else 0.0
        unit = _floor_in(metric, floor_ms)
        found[case, metric] = {block: max(value - planned_ms, 0.0) / unit for block, value in blocks.items()}
    return found


def relative_margins(of: Mapping[str, Margin], floor_ms: float) -> dict[str, Margin]:
    """The margins on the scale of `ratios`, for the metrics that it has."""
    return {
        metric: Margin(of[metric].share, of[metric].slack / _floor_in(metric, floor_ms), of[metric].higher_is_better)
        for metric in (*TIMES, *COUNTS)
        if metric in of
    }


def make(run: FullRun, margins: Margins) -> Baseline:
    """The contents of baseline.json."""
    by_case: dict[CaseKey, dict[str, list[float]]] = {}
    for (case, metric), blocks in ratios(run).items():
        by_case.setdefault(case, {})[metric] = [round(blocks[block], 6) for block in sorted(blocks)]
    records = {name: MarginRecord(share=each.share, slack=each.slack) for name, each in margins.of.items()}
    manifest, workers = run.run.manifest, run.run.manifest.settings.get("workers")
    return Baseline(
        made_utc=utc_now(),
        run=run.run.folder.resolve().name,
        commit=manifest.commit,
        host=manifest.host,
        record_schema=manifest.schema,
        workers=workers if isinstance(workers, int) else None,
        strategies=sorted({case.strategy for case in run.summary.cases}),
        scenarios=manifest.scenarios,
        environment=manifest.service_environment or {},
        floor_p50_ms=run.floor_ms,
        margins=BaselineMargins(measured=margins.measured, says=margins.source, of=records),
        cases=[BaselineCase(**case._asdict(), ratios=metrics) for case, metrics in sorted(by_case.items())],
    )


def write(path: Path, baseline: Baseline) -> None:
    """Write baseline.json, whole or not at all. Raises GateError if it cannot be written."""
    try:
        replace_file(path, encode_file(baseline))
    except OSError as error:
        cause = error.strerror or error
        raise GateError(f"{path} cannot be written ({cause}): choose another with --baseline") from error


def read(path: Path) -> Baseline:
    """Read baseline.json. Raises GateError if it is absent, damaged or of another schema."""
    try:
        return read_file(path, Baseline)
    except FileNotFoundError:
        raise GateError(f"{path} does not exist: {AGAIN}") from None
    except (OSError, RecordError) as error:
        raise GateError(f"{error}; {AGAIN}") from error


def _floor_in(metric: str, floor_ms: float) -> float:
    """The floor in the metric's unit; 1 for a count."""
    if metric in COUNTS:
        return 1.0
    return floor_ms * 1000 if metric == CPU else floor_ms
