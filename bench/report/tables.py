"""The report's tables: select what templates/text/tables.j2 shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from bench.analysis.waterfall import LAST_WORDS, WORDS, Parts
from bench.record.manifest import Manifest, ScenarioSettings
from bench.record.schema import CaseKey
from bench.record.summary import Summary, SummaryCase
from bench.report.cases import CPU, missed_of, names_of, place_of
from bench.report.pages import Table, table
from bench.workload.strategies import is_special, scenario_rank

SHOWN = ("flowing", "stalled")
OPS = "store_ops_per_token"


def glance_table(cases: Sequence[SummaryCase], manifest: Manifest) -> Table | None:
    """A row per strategy: stops in the first scenarios with aborts, all misses, wasted tokens, costs of `steady`.

    Cases at the run's usual number of workers; None when nothing was aborted.
    """
    ours = [case for case in cases if not is_special(case.scenario)]
    numbers = [case.workers for case in ours]
    usual = manifest.settings.get("workers") or max(set(numbers), key=numbers.count, default=0)
    here = {(case.strategy, case.scenario): case for case in ours if case.workers == usual}
    aborted = sorted({case.scenario for case in here.values() if case.aborts}, key=scenario_rank)
    counted = [case for case in here.values() if case.scenario in aborted]
    steady = {metric for case in here.values() if case.scenario == "steady" for metric in case.metrics}
    shown = [name for name in SHOWN if name in aborted] or aborted[: len(SHOWN)]
    losses = {name: missed_of(counted, name) for name in names_of(here.values())}
    if not shown:
        return None
    return table(
        "glance", workers=usual, losses=losses, here=here, aborted=aborted, shown=shown, cpu=CPU in steady,
        ops=OPS in steady,
    )  # fmt: skip


def result_tables(summary: Summary, parts: Mapping[CaseKey, Parts], manifest: Manifest) -> list[Table]:
    """Comparisons, controls and parts of the stop, where the run has them, and a table per scenario and load."""
    compared = [each for each in summary.comparisons if each.p_holm is not None]
    known = [(case, parts[case.key]) for case in summary.cases if case.key in parts]
    return [
        *([table("comparisons", found=compared)] if compared else []),
        *([table("controls", found=summary.controls, text=True)] if summary.controls else []),
        *([table("parts", words=list(WORDS.values()), last=LAST_WORDS, known=known)] if known else []),
        *scenario_tables(summary.cases, manifest),
    ]


def scenario_tables(cases: Sequence[SummaryCase], manifest: Manifest) -> list[Table]:
    """A table per scenario and load: of stops or, without aborts, of costs."""
    tables = []
    for place in dict.fromkeys(map(place_of, cases)):
        own = [case for case in cases if place_of(case) == place]
        sentence = manifest.scenarios.get(place.scenario, ScenarioSettings()).sentence
        macro = "stops" if any(case.aborts for case in own) else "costs"
        tables.append(table(macro, place=place, sentence=sentence, cases=own))
    return tables


def method_tables(summary: Summary, manifest: Manifest) -> list[Table]:
    """Latencies from the intended moment and costs of idling, where the run has them, and the instrument's health."""
    cases = summary.cases
    loads = {case.scenario: load_of(manifest.scenarios.get(case.scenario, ScenarioSettings())) for case in cases}
    return [
        *([table("intended", cases=cases, loads=loads, text=True)] if any(c.loop == "open" for c in cases) else []),
        *([table("idle", idle=summary.idle)] if summary.idle else []),
        table("health", cases=cases, text=True),
    ]


def load_of(scenario: ScenarioSettings) -> str:
    """`open loop, 80/s poisson`, or `closed loop, 100 readers`."""
    if not scenario.rate_per_s:
        return f"closed loop, {scenario.streams or '?'} readers"
    return f"open loop, {scenario.rate_per_s:g}/s {scenario.arrivals}"


def facts_of(manifest: Manifest) -> list[tuple[str, str]]:
    """The manifest as name and text, in reading order; what is absent is left out."""
    dirty = " with uncommitted changes" if manifest.dirty else ""
    facts = {
        "run": f"{manifest.started_utc} to {manifest.ended_utc or 'interrupted'}",
        "commit": f"{manifest.commit}{dirty}" if manifest.commit else "unknown",
        "seed": "" if manifest.seed is None else str(manifest.seed),
        "host": _listed(manifest.host),
        "stores": _listed({name: f"{at.name} {at.version} ({at.how})" for name, at in manifest.stores.items()}),
        "ASGI": _listed(manifest.asgi),
        "versions": _listed(manifest.versions),
        "settings": _listed(manifest.settings),
        "environment": _listed(manifest.environment),
        **{f"scenario {name}": _listed(each) for name, each in manifest.scenarios.items()},
    }
    return [(name, text) for name, text in facts.items() if text]


def _listed(facts: msgspec.Struct | Mapping[str, object] | None) -> str:
    found = msgspec.to_builtins(facts) if isinstance(facts, msgspec.Struct) else facts or {}
    hidden = ("sentence", "name")
    return ", ".join(f"{key} {_value(each)}" for key, each in found.items() if each is not None and key not in hidden)


def _value(value: object) -> str:
    """Weights such as `{"stream": 0.8, "last": 0.2}` as `stream 0.8 + last 0.2`, a list as `250, 1430`."""
    if value == {}:
        return "by default"
    if isinstance(value, dict) and all(isinstance(weight, int | float) for weight in value.values()):
        return " + ".join(f"{name} {weight:g}" if len(value) > 1 else str(name) for name, weight in value.items())
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)
