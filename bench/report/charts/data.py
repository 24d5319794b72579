"""What the charts are drawn from: scenarios at one load, costs by block, cases by pace and by number of workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.blocks import row_values
from bench.analysis.moments import Moment
from bench.analysis.reading import Chat, Run
from bench.record.manifest import ScenarioSettings
from bench.record.schema import CaseKey
from bench.record.summary import SummaryCase
from bench.report.cases import place_of
from bench.stats.spread import BlockValues, Mean, mean_interval

LONG_TITLE = 30  # letters
Scenarios = Mapping[str, ScenarioSettings]


@dataclass(frozen=True)
class Panel:
    """One scenario at one load: its cases in order, and the chats of each strategy."""

    cases: list[SummaryCase]
    chats: Mapping[str, Sequence[Chat]]

    @property
    def scenario(self) -> str:
        """The scenario of all its cases."""
        return self.cases[0].scenario

    @property
    def title(self) -> str:
        """Scenario and load in words, on two lines where one would reach into the margin."""
        title = str(place_of(self.cases[0]))
        return title if len(title) < LONG_TITLE + 2 else title.replace(": ", ":\n")

    @property
    def strategies(self) -> list[str]:
        """The strategies of its cases."""
        return [case.strategy for case in self.cases]

    def samples(self, strategy: str, metric: str) -> list[float]:
        """The metric of all chats of one strategy that have it."""
        values = [getattr(chat.measured, metric) for chat in self.chats.get(strategy, ())]
        return [float(value) for value in values if value is not None]

    def wasted(self) -> dict[str, Mean]:
        """Strategy -> mean of tokens wasted per abort, with its interval; those without an abort are left out."""
        found = {}
        for name in self.strategies:
            by_block: dict[int, list[float]] = {}
            for chat in self.chats.get(name, ()):
                if chat.measured.wasted_tokens is not None:
                    by_block.setdefault(chat.block, []).append(chat.measured.wasted_tokens)
            if by_block:
                found[name] = mean_interval(by_block)
        return found


def panels_of(run: Run, cases: Sequence[SummaryCase]) -> list[Panel]:
    """Each scenario at its most measured load: two loads in one curve would be a mixture of both."""
    usual = Counter(case.workers for case in cases).most_common(1)[0][0] if cases else 0
    chats: dict[CaseKey, list[Chat]] = {}
    for chat in run.chats:
        chats.setdefault(CaseKey(*chat.key), []).append(chat)
    panels = []
    for scenario in dict.fromkeys(case.scenario for case in cases):
        own = [case for case in cases if case.scenario == scenario]
        loads = Counter(map(place_of, own))
        load = max(loads, key=lambda load: (loads[load], load.workers == usual))
        shown = [case for case in own if place_of(case) == load]
        panels.append(Panel(shown, {case.strategy: chats.get(case.key, []) for case in shown}))
    return panels


def costs_of(run: Run, panel: Panel | None) -> BlockValues:
    """Strategy -> metric -> block -> value, of the scenario without aborts."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for case in panel.cases if panel else ():
        found = values.setdefault(case.strategy, {})
        for row in run.cases:
            if row.key == case.key:
                own = [chat.measured for chat in run.chats if (chat.key, chat.block) == (row.key, row.block)]
                for metric, value in row_values(row, own).items():
                    found.setdefault(metric, {})[row.block] = value
    return values


def by_pace(panels: Sequence[Panel], scenarios: Scenarios) -> dict[float, list[SummaryCase]]:
    """Time between tokens -> cases, of the first scenario at each pace whose aborts fall into a flowing answer."""
    found: dict[float, list[SummaryCase]] = {}
    for panel in panels:
        each = scenarios.get(panel.scenario, ScenarioSettings())
        plain = each.abort_by != "hangup" and not (each.count_only or each.read_pause_ms or each.stall_ms)
        if each.itl_ms and plain and set(each.abort_over) <= {"stream"}:
            found.setdefault(each.itl_ms, panel.cases)
    return dict(sorted(found.items()))


def by_workers(
    cases: Sequence[SummaryCase], scenarios: Scenarios, moments: Sequence[Moment]
) -> tuple[str, dict[str, dict[int, tuple[int, int]]]]:
    """`(scenarios, strategy -> number of workers -> (missed, aborts))`: the first scenario of each number of workers.

    Where only aborts that reach another worker count, all that were sent are counted here: else memory would miss
    every one, whatever the number of workers.
    """
    scenario_of: dict[int, str] = {}
    for case in cases:
        if scenarios.get(case.scenario, ScenarioSettings()).abort_by != "hangup":
            scenario_of.setdefault(case.workers, case.scenario)
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for case in cases:
        if not case.aborts or case.scenario != scenario_of.get(case.workers):
            continue
        counts = case.missed, case.aborts
        if scenarios.get(case.scenario, ScenarioSettings()).count_only:
            sent = [each for each in moments if each.key == case.key and each.accepted_ns]
            own = [each for each in sent if each.counted or each.lost_ns]
            counts = sum(each.lost_ns is None for each in own), len(own)
        if counts[1]:
            found.setdefault(case.strategy, {})[case.workers] = counts
    return ", ".join(dict.fromkeys(scenario_of[workers] for workers in sorted(scenario_of))), found


def knee_of(folder: Path) -> list[dict[str, Any]]:
    """The points of knee.json, a list or `{"points": [...]}`; none when there is no such file that can be read."""
    try:
        found = json.loads((folder / "knee.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    points: list[dict[str, Any]] = found.get("points", []) if isinstance(found, dict) else found
    return points
