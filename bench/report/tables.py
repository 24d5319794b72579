"""The report's tables and cards: select what templates/text/tables.j2 and conditions.j2 show."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from bench.analysis.comparison import STOP
from bench.analysis.ranking import names_of, place_of, value_of, without_misses
from bench.analysis.waterfall import LAST_WORDS, WORDS, Parts
from bench.record.manifest import Manifest, ScenarioSettings, StoreInfo
from bench.record.schema import CaseKey, CaseRow
from bench.record.summary import Summary, SummaryCase
from bench.report.cases import CPU, OPS, WASTE, missed_of
from bench.report.formatting import repeat_command
from bench.report.pages import Table, pairs, table, terms
from bench.workload.strategies import is_contender, is_special, scenario_rank

SHOWN = ("flowing", "stalled")
INTERVAL_MS = 100.0  # the backends' default, which bench must not import
HIDDEN = ("sentence", "name", "early", "interval", "seed", "label")  # shown elsewhere on the page, or not at all
UNITS = {"_per_s": "per s", "_ms": "ms", "_s": "s", "_gb": "GB", "_bytes": "bytes"}


class Card(NamedTuple):
    """One strategy and the conditions under which it was measured, as name and text."""

    strategy: str
    facts: list[tuple[str, str]]


def glance_table(cases: Sequence[SummaryCase], manifest: Manifest) -> Table | None:
    """A row per strategy: stops in the first scenarios with aborts, all misses, wasted tokens, costs of `steady`.

    Cases at the run's usual number of workers; None when nothing was aborted.
    """
    ours = [case for case in cases if not is_special(case.scenario)]
    numbers = [case.workers for case in ours]
    usual = manifest.settings.get("workers") or max(set(numbers), key=numbers.count, default=0)
    here = {(case.strategy, case.scenario): case for case in ours if case.workers == usual}
    aborted = sorted({case.scenario for case in here.values() if case.aborts}, key=scenario_rank)
    if not aborted:
        return None
    counted = [case for case in here.values() if case.scenario in aborted]
    steady = {metric for case in here.values() if case.scenario == "steady" for metric in case.metrics}
    shown = [name for name in SHOWN if name in aborted] or aborted[: len(SHOWN)]
    made = table(
        "glance", workers=usual, losses={name: missed_of(counted, name) for name in names_of(here.values())}, here=here,
        aborted=aborted, shown=shown, cpu=CPU in steady, ops=OPS in steady,
    )  # fmt: skip
    columns = [(name, STOP, "p50") for name in shown] + [("", "", ""), (shown[0], WASTE, "mean")]
    columns += [("steady", metric, "p50") for metric in (CPU, OPS) if metric in steady]
    names = [row[0] for row in made.rows]
    able = {name for name in without_misses(counted) if is_contender(name)}
    best = set()
    for column, (scenario, metric, key) in enumerate(columns, 1):
        found = {row: value_of(here[name, scenario], metric, key) for row, name in enumerate(names)
                 if name in able and (name, scenario) in here}  # fmt: skip
        values = {row: value for row, value in found.items() if value is not None}
        best |= {(row, column) for row, value in values.items() if value == min(values.values())}
    aside = frozenset(row for row, name in enumerate(names) if not is_contender(name))
    return replace(made, best=frozenset(best), aside=aside)


def result_tables(summary: Summary, parts: Mapping[CaseKey, Parts], manifest: Manifest) -> list[Table]:
    """Comparisons, controls and parts of the stop, where the run has them, and a table per scenario and load."""
    known = [(case, parts[case.key]) for case in summary.cases if case.key in parts]
    found = [
        table("comparisons", found=[each for each in summary.comparisons if each.p_holm is not None]),
        table("controls", found=summary.controls, text=True),
        table("parts", words=list(WORDS.values()), last=LAST_WORDS, known=known),
    ]
    for place in dict.fromkeys(map(place_of, summary.cases)):
        own = [case for case in summary.cases if place_of(case) == place]
        sentence = manifest.scenarios.get(place.scenario, ScenarioSettings()).sentence
        macro = "stops" if any(case.aborts for case in own) else "costs"
        found.append(table(macro, place=place, sentence=sentence, cases=own))
    return [each for each in found if each.rows]


def method_tables(summary: Summary, manifest: Manifest) -> list[Table]:
    """Latencies from the intended moment and costs of idling, where the run has them, and the instrument's health."""
    cases = summary.cases
    loads = {case.scenario: load_of(manifest.scenarios.get(case.scenario, ScenarioSettings())) for case in cases}
    opened = cases if any(case.loop == "open" for case in cases) else []
    found = [
        table("intended", cases=opened, loads=loads),
        table("idle", idle=summary.idle or []),
        replace(table("health", cases=cases), notes=tuple(summary.warnings)),
        table("clocks", cases=cases, text=True),
    ]
    return [each for each in found if each.rows]


def load_of(scenario: ScenarioSettings) -> str:
    """`open loop, 80/s poisson`, or `closed loop, 100 readers`."""
    if not scenario.rate_per_s:
        return f"closed loop, {scenario.streams or '?'} readers"
    return f"open loop, {scenario.rate_per_s:g}/s {scenario.arrivals}"


def cards_of(cases: Sequence[SummaryCase], manifest: Manifest, rows: Sequence[CaseRow]) -> list[Card]:
    """A card for each strategy of the summary's `cases`; `rows` of cases.jsonl have the connections."""
    ours = [case for case in cases if not is_special(case.scenario)]
    cards = []
    for name in names_of(ours):
        own = [case for case in ours if case.strategy == name]
        # A store that was restarted during the run counts from 0 again, which gives negative numbers.
        counts = [row.connections for row in rows if row.strategy == name]
        held = [count for count in counts if count is not None and count >= 0]
        server = manifest.stores.get(own[0].store or "", StoreInfo())
        facts = pairs("conditions.card", case=own[0], cases=own, manifest=manifest, server=server, held=held,
                      default_ms=INTERVAL_MS)  # fmt: skip
        cards.append(Card(name, facts))
    return cards


def facts_of(manifest: Manifest, ended: str = "") -> list[tuple[str, str]]:
    """The manifest, and why the run ended, as name and text in reading order; what is absent is left out."""
    again = repeat_command(manifest)
    found = pairs("conditions.facts", manifest=manifest, ended=ended, again=again, listed=_listed)
    return [(name, text) for name, text in found if text]


def _listed(facts: msgspec.Struct | Mapping[str, object] | None) -> str:
    found = msgspec.to_builtins(facts) or {}
    # What is 0, no or empty was not used.
    return "; ".join(_fact(key, each) for key, each in found.items() if each and key not in HIDDEN)


def _fact(key: str, value: object) -> str:
    """`itl_ms` and 20 as `a token every 20 ms`; a setting that is on by its name alone."""
    name, unit = next(((key.removesuffix(end), unit) for end, unit in UNITS.items() if key.endswith(end)), (key, ""))
    name = terms("conditions", "names").get(key, name.replace("_", " ") if key.islower() else key)
    return name if value is True else f"{name} {_value(value)} {unit}".strip()


def _value(value: object) -> str:
    """Weights such as `{"stream": 0.8, "last": 0.2}` as `stream 0.8 + last 0.2`, a list as `250, 1430`."""
    if isinstance(value, dict) and all(isinstance(weight, int | float) for weight in value.values()):
        return " + ".join(f"{name} {weight:g}" if len(value) > 1 else str(name) for name, weight in value.items())
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)
