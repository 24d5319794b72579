"""The baseline: a run as multiples of its own floor, and the check of a run of another machine or day against it.

Milliseconds of two machines cannot be compared; the ratio to the floor (same machine, same run, no service) roughly
can. The contents of results/baseline.json are described in bench/record/verdict.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.analysis.blocks import Block, BlockValues
from bench.analysis.metrics import UNITS
from bench.analysis.reading import CaseKey, Run, UnreadableResults, read_run
from bench.gate import INVALID, GateError
from bench.gate.block_filter import stalled_workers, too_few_usable, unhealthy_blocks
from bench.gate.family import decide_all, gate_values, judged_in, single_block_notes
from bench.gate.margins import DEFAULTS, Margins
from bench.gate.outcome import Outcome
from bench.gate.rules import apply_rules
from bench.gate.verdict import Margin
from bench.record.base import RecordError, read_file
from bench.record.host import other_machine, utc_now
from bench.record.manifest import Host
from bench.record.summary import Summary
from bench.record.verdict import Baseline, BaselineCase, BaselineMargins, MarginRecord, SideInfo
from bench.stats.paired import MIN_BLOCKS
from bench.workload.strategies import is_special

AGAIN = "make a new one with `make baseline`"
CPU = "server_cpu_us_per_token"
TIMES = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms", CPU)
"""Divided by the floor; from `ttft_ms` the scenario's own delay is subtracted first."""
COUNTS = ("wasted_tokens", "store_ops_per_token", "store_ops_per_chat")
"""Not divided: they do not depend on the machine. Rates and `itl_ms` are set by the scenario and are left out."""
RATIO_UNITS = UNITS | dict.fromkeys(TIMES, "x floor")
DESCRIPTIONS = ("name", "sentence")
"""Fields of a scenario that do not change its load."""


class FullRun(NamedTuple):
    """A valid run with enough blocks: the block values of its usable blocks, and the reason for each excluded one."""

    run: Run
    summary: Summary
    floor_ms: float
    values: BlockValues
    excluded: Mapping[Block, str]


def load(folder: Path) -> FullRun:
    """Read a run. Raises GateError: no results (4), QUICK (4), too few blocks (4), no floor (4), invalid (2)."""
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
    if not summary.floor or not summary.floor.p50:
        raise GateError(f"{folder} has no floor: measure again with this version (`make bench`)")
    excluded = unhealthy_blocks(run)
    return FullRun(run, summary, summary.floor.p50, gate_values(run, excluded), excluded)


def ratios(run: FullRun) -> dict[tuple[CaseKey, str], dict[int, float]]:
    """The run's block values as multiples of its floor, and counts as they are."""
    units, scenarios = _units(run.floor_ms), run.run.manifest.scenarios
    found = {}
    for (case, metric), blocks in run.values.items():
        if metric in units and not is_special(case.scenario):
            planned_ms = scenarios[case.scenario].ttft_ms if metric == "ttft_ms" and case.scenario in scenarios else 0.0
            found[case, metric] = {
                block: max(value - planned_ms, 0.0) / units[metric] for block, value in blocks.items()
            }
    return found


def relative_margins(of: Mapping[str, Margin], floor_ms: float) -> dict[str, Margin]:
    """The margins on the scale of `ratios`, for the metrics that it has."""
    units = _units(floor_ms)
    return {name: replace(of[name], slack=of[name].slack / units[name]) for name in units if name in of}


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


def read(path: Path) -> Baseline:
    """Read baseline.json. Raises GateError if it is absent, damaged or of another schema."""
    try:
        return read_file(path, Baseline)
    except FileNotFoundError:
        raise GateError(f"{path} does not exist: {AGAIN}") from None
    except (OSError, RecordError) as error:
        raise GateError(f"{error}; {AGAIN}") from error


def check(baseline: Baseline, run: FullRun, local: Margins) -> Outcome:
    """Compare a run with a baseline; `local` are the margins of this machine.

    Raises GateError that names the first condition in which they differ.
    """
    new = make(run, local)
    if difference := unlike(baseline, new):
        raise GateError(f"the baseline was measured under other conditions: {difference}; {AGAIN}")
    chosen, notes = choose_margins(margins_of(baseline), local), []
    there, here = baseline.host or Host(), new.host or Host()
    if there == Host() or other_machine(there, here):
        notes.append("measured on another machine than the baseline: the floor corrects for most of that, not all")
    old_values, new_values = values_of(baseline), values_of(new)
    margins = relative_margins(chosen.of, baseline.floor_p50_ms)
    for metric in sorted({metric for _case, metric in new_values} - {metric for _case, metric in old_values}):
        del margins[metric]
        notes.append(f"the baseline has no {metric}, so it is not judged: {AGAIN}")
    rules = apply_rules(None, run.run, {*run.excluded, *stalled_workers(run.run)})
    return Outcome(
        findings=decide_all(old_values, new_values, margins, side_by_side=False),
        broken=rules.broken,
        unproven_rules=rules.unproven,
        doubts=list(too_few_usable(run.run, run.excluded, MIN_BLOCKS).values()),
        losses=rules.losses,
        base=SideInfo(name=f"baseline {baseline.run}", commit=baseline.commit),
        head=SideInfo(name=new.run, commit=new.commit),
        margin_source=chosen.source,
        notes=[*notes, *single_block_notes(old_values, new_values, margins)],
        units=RATIO_UNITS,
    )


def values_of(baseline: Baseline) -> BlockValues:
    """The baseline's ratios by case, metric and block; costs only of scenarios without aborts."""
    kept = {
        (CaseKey(case.strategy, case.scenario, case.workers, case.streams), metric): dict(enumerate(blocks))
        for case in baseline.cases
        for metric, blocks in case.ratios.items()
    }
    return judged_in(kept, baseline.scenarios)


def margins_of(baseline: Baseline) -> Margins:
    """The margins that the baseline was made with."""
    kept = baseline.margins
    of = {
        name: replace(DEFAULTS[name], share=each.share, slack=each.slack)
        for name, each in kept.of.items()
        if name in DEFAULTS
    }
    return Margins(of, kept.measured, kept.says)


def choose_margins(made_with: Margins, local: Margins) -> Margins:
    """Measured margins before defaults; if both were measured, the wider one of each metric."""
    if not (local.measured and made_with.measured):
        return local if local.measured else made_with
    pairs = {metric: (margin, made_with.of.get(metric, margin)) for metric, margin in local.of.items()}
    of = {metric: max(pair, key=lambda each: each.share) for metric, pair in pairs.items()}
    return Margins(of, True, f"the wider of the baseline's and this machine's: {local.source}")


def unlike(old: Baseline, new: Baseline) -> str | None:
    """The first difference between the conditions of two baselines, with both values; None without one."""
    for kind in ("strategies", "scenarios"):
        before, now = set(getattr(old, kind)), set(getattr(new, kind))
        changes = {"lacks": before - now, "adds": now - before}
        if parts := [f"this run {verb} {', '.join(sorted(names))}" for verb, names in changes.items() if names]:
            return f"{kind}: {' and '.join(parts)}"
    there, here = _conditions(old), _conditions(new)
    if old.environment is None:  # an older baseline
        here = {name: value for name, value in here.items() if not name.startswith("environment")}
    for name in dict.fromkeys((*there, *here)):
        if there.get(name) != here.get(name):
            return f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
    return None


def _conditions(baseline: Baseline) -> dict[str, object]:
    found: dict[str, object] = {"record_schema": baseline.record_schema, "workers": baseline.workers}
    found |= {f"environment: {name}": value for name, value in (baseline.environment or {}).items()}
    for name, scenario in baseline.scenarios.items():
        fields = [field for field in scenario.__struct_fields__ if field not in DESCRIPTIONS]
        found |= {f"scenario {name}: {field}": getattr(scenario, field) for field in fields}
    return found


def _units(floor_ms: float) -> dict[str, float]:
    """What a block's value is divided by: the floor in the metric's unit, or 1 for a count."""
    return {**dict.fromkeys(TIMES, floor_ms), CPU: floor_ms * 1000, **dict.fromkeys(COUNTS, 1.0)}
