"""Compare a run with the baseline, both as multiples of their own floor; refuse one measured under other conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.gate import GateError
from bench.gate.baseline import AGAIN, RATIO_UNITS, FullRun, ratios, relative_margins
from bench.gate.block_filter import stalled_workers, too_few_usable
from bench.gate.decision import Margin
from bench.gate.family import BlockValues, decide_all_unpaired, single_block_notes
from bench.gate.gate_run import without_stop_costs
from bench.gate.margins import DEFAULTS, Margins
from bench.gate.outcome import Outcome
from bench.gate.zero_tolerance import apply_rules
from bench.record.manifest import Host
from bench.record.schema import CaseKey
from bench.record.verdict import Baseline, SideInfo
from bench.record.writer import other_machine
from bench.stats.paired import MIN_BLOCKS

DESCRIPTIONS = ("name", "sentence")
"""Fields of a scenario that do not change its load."""


def check(baseline: Baseline, run: FullRun, local: Margins) -> Outcome:
    """Compare a run with a baseline; `local` are the margins of this machine.

    Raises GateError that names the first condition in which they differ.
    """
    if difference := unlike(conditions_of(baseline), run.conditions()):
        raise GateError(f"the baseline was measured under other conditions: {difference}; {AGAIN}")
    chosen, notes, manifest = choose_margins(margins_of(baseline), local), [], run.run.manifest
    there, here = baseline.host or Host(), manifest.host or Host()
    if there == Host() or other_machine(there, here):
        notes.append("measured on another machine than the baseline: the floor corrects for most of that, not all")
    old, new = values_of(baseline), ratios(run)
    margins = relative_margins(chosen.of, baseline.floor_p50_ms)
    for metric in sorted({metric for _case, metric in new} - {metric for _case, metric in old}):
        del margins[metric]
        notes.append(f"the baseline has no {metric}, so it is not judged: {AGAIN}")
    rules = apply_rules(None, run.run, {*run.excluded, *stalled_workers(run.run)})
    return Outcome(
        findings=decide_all_unpaired(old, new, margins),
        broken=rules.broken,
        unproven_rules=rules.unproven,
        doubts=list(too_few_usable(run.run, run.excluded, MIN_BLOCKS).values()),
        losses=rules.losses,
        base=SideInfo(name=f"baseline {baseline.run}", commit=baseline.commit),
        head=SideInfo(name=run.run.folder.resolve().name, commit=manifest.commit),
        margin_source=chosen.source,
        notes=[*notes, *single_block_notes(old, new, margins)],
        units=RATIO_UNITS,
    )


def values_of(baseline: Baseline) -> BlockValues:
    """The baseline's ratios by case, metric and block; costs only of scenarios without aborts."""
    kept = {
        (CaseKey(case.strategy, case.scenario, case.workers, case.streams), metric): dict(enumerate(blocks))
        for case in baseline.cases
        for metric, blocks in case.ratios.items()
    }
    return without_stop_costs(kept, baseline.scenarios)


def margins_of(baseline: Baseline) -> Margins:
    """The margins that the baseline was made with."""
    of = {
        name: Margin(each.share, each.slack, DEFAULTS[name].higher_is_better)
        for name, each in baseline.margins.of.items()
        if name in DEFAULTS
    }
    return Margins(of, baseline.margins.measured, baseline.margins.says)


def choose_margins(made_with: Margins, local: Margins) -> Margins:
    """Measured margins before defaults; if both were measured, the wider one of each metric."""
    if not local.measured:
        return made_with
    if not made_with.measured:
        return local
    pairs = {metric: (margin, made_with.of.get(metric, margin)) for metric, margin in local.of.items()}
    of = {metric: max(pair, key=lambda each: each.share) for metric, pair in pairs.items()}
    return Margins(of, True, f"the wider of the baseline's and this machine's: {local.source}")


def conditions_of(baseline: Baseline) -> dict[str, Any]:
    """The conditions of a baseline, as `FullRun.conditions` names them."""
    names = ("record_schema", "workers", "strategies", "scenarios", "environment")
    return {name: getattr(baseline, name) for name in names}


def unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first difference between the conditions of a baseline and of a run, with both values; None without one."""
    for kind in ("strategies", "scenarios"):
        before, now = set(old[kind]), set(new[kind])
        parts = [
            f"this run {verb} {', '.join(sorted(names))}"
            for verb, names in (("lacks", before - now), ("adds", now - before))
            if names
        ]
        if parts:
            return f"{kind}: {' and '.join(parts)}"
    there, here = _flat(old), _flat(new)
    if old["environment"] is None:  # an older baseline
        here = {name: value for name, value in here.items() if not name.startswith("environment")}
    for name in dict.fromkeys((*there, *here)):
        if there.get(name) != here.get(name):
            return f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
    return None


def _flat(conditions: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"record_schema": conditions["record_schema"], "workers": conditions["workers"]}
    flat |= {f"environment: {name}": value for name, value in (conditions["environment"] or {}).items()}
    for name, scenario in conditions["scenarios"].items():
        fields = [field for field in scenario.__struct_fields__ if field not in DESCRIPTIONS]
        flat |= {f"scenario {name}: {field}": getattr(scenario, field) for field in fields}
    return flat
