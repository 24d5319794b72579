"""Compare a run with the baseline, both as multiples of their own floor; refuse one measured under other conditions."""

from __future__ import annotations

from bench.analysis.blocks import BlockValues
from bench.gate import GateError
from bench.gate.baseline import AGAIN, RATIO_UNITS, FullRun, make, relative_margins
from bench.gate.block_filter import stalled_workers, too_few_usable
from bench.gate.family import decide_all, single_block_notes, without_stop_costs
from bench.gate.margins import DEFAULTS, Margins
from bench.gate.outcome import Outcome
from bench.gate.rules import apply_rules
from bench.gate.verdict import Margin
from bench.record.host import other_machine
from bench.record.manifest import Host
from bench.record.schema import CaseKey
from bench.record.verdict import Baseline, SideInfo
from bench.stats.paired import MIN_BLOCKS

DESCRIPTIONS = ("name", "sentence")
"""Fields of a scenario that do not change its load."""


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


def unlike(old: Baseline, new: Baseline) -> str | None:
    """The first difference between the conditions of two baselines, with both values; None without one."""
    for kind, before, now in (
        ("strategies", set(old.strategies), set(new.strategies)),
        ("scenarios", set(old.scenarios), set(new.scenarios)),
    ):
        parts = [
            f"this run {verb} {', '.join(sorted(names))}"
            for verb, names in (("lacks", before - now), ("adds", now - before))
            if names
        ]
        if parts:
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
