"""Compares a run with the committed baseline, floor by floor; refuses what was measured under other conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.gate import baseline
from bench.gate.block_filter import starved, too_few
from bench.gate.decision import Margin
from bench.gate.family import decide_all_unpaired, told_once
from bench.gate.gate_run import GateError, GateRun
from bench.gate.margins import Margins
from bench.gate.outcome import Outcome
from bench.gate.zero_tolerance import judge
from bench.record.writer import other_machine
from bench.stats.paired import MIN_BLOCKS

WORDS_ONLY = ("name", "sentence")


def check(record: Mapping[str, Any], run: GateRun, local: Margins) -> Outcome:
    """Judge `run` by a baseline's record; `local` are the margins of this machine.

    Raises GateError (4) naming the first condition that differs.
    """
    difference = unlike(record, baseline.conditions(run))
    if difference:
        raise GateError(f"the baseline was measured under other conditions: {difference}; {baseline.AGAIN}")
    chosen = choose(baseline.margins_of(record), local)
    notes = []
    if not record["host"] or other_machine(record["host"], run.manifest.get("host") or {}):
        notes.append("measured on another machine than the baseline: the floor takes out most of that, not all")
    old, new = baseline.values_of(record), baseline.ratios(run)
    margins = baseline.relative_margins(chosen.of, record["floor_p50_ms"])
    for metric in sorted({metric for _case, metric in new} - {metric for _case, metric in old}):
        del margins[metric]
        notes.append(f"the baseline has no {metric}, so it is not judged: {baseline.AGAIN}")
    broken = judge(None, run.run, {*run.left_out, *starved(run.run)})
    return Outcome(
        findings=decide_all_unpaired(old, new, margins),
        fired=broken.fired,
        doubtful=broken.doubtful,
        doubts=list(too_few(run.run, run.left_out, MIN_BLOCKS).values()),
        losses=broken.losses,
        base={"name": f"baseline {record['run']}", "commit": record["commit"]},
        head=run.side,
        margins_say=chosen.says,
        notes=[*notes, *told_once(old, new, margins)],
        units=baseline.RATIO_UNITS,
    )


def choose(made_with: Margins, local: Margins) -> Margins:
    """Measured margins before defaults; where both machines were measured, the noisier one's for each metric."""
    if not local.measured:
        return made_with
    if not made_with.measured:
        return local

    def wider(metric: str, margin: Margin) -> Margin:
        return max(margin, made_with.of.get(metric, margin), key=lambda each: each.share)

    of = {metric: wider(metric, margin) for metric, margin in local.of.items()}
    return Margins(of, measured=True, says=f"the wider of the baseline's and this machine's: {local.says}")


def unlike(record: Mapping[str, Any], run: Mapping[str, Any]) -> str | None:
    """What differs first between a baseline's and a run's conditions, by name and with both values; None if nothing."""
    for key in ("record_schema", "workers", "strategies"):
        old, new = record[key], run[key]
        if isinstance(old, list):
            sides = (("lacks", sorted(set(old) - set(new))), ("adds", sorted(set(new) - set(old))))
            told = [f"this run {word} {', '.join(names)}" for word, names in sides if names]
            if told:
                return f"{key}: {' and '.join(told)}"
        elif old != new:
            return f"{key} is {old!r} there and {new!r} here"
    given: Mapping[str, str] = run["environment"]
    kept: Mapping[str, str] = record.get("environment", given)  # an old baseline does not say
    for name in dict.fromkeys((*kept, *given)):
        if kept.get(name) != given.get(name):
            return f"environment: {name} is {kept.get(name)!r} there and {given.get(name)!r} here"
    for name in sorted({*record["scenarios"], *run["scenarios"]}):
        before, now = record["scenarios"].get(name), run["scenarios"].get(name)
        if before is None or now is None:
            return f"scenario {name} is only {'here' if before is None else 'there'}"
        for key in dict.fromkeys((*before, *now)):
            if key not in WORDS_ONLY and before.get(key) != now.get(key):
                return f"scenario {name}: {key} is {before.get(key)!r} there and {now.get(key)!r} here"
    return None
