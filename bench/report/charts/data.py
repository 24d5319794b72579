"""What the charts are drawn from: scenarios at one load, costs by block, cases by pace and by number of workers."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.blocks import block_values
from bench.analysis.comparison import STOP
from bench.analysis.moments import Moment
from bench.analysis.ranking import place_of
from bench.analysis.reading import Run
from bench.record.manifest import ScenarioSettings
from bench.record.schema import CaseKey
from bench.record.summary import SummaryCase
from bench.report.cases import WASTE
from bench.stats.spread import Mean, mean_interval

LONG_TITLE = 30  # letters
Scenarios = Mapping[str, ScenarioSettings]
Counts = Mapping[str, Mapping[int, tuple[int, int]]]
"""Strategy -> number of workers -> (missed, aborts)."""


@dataclass(frozen=True)
class Panel:
    """One scenario at one load: its cases in order, and a row of `chats` (see `chats_of`) for each of their chats."""

    cases: list[SummaryCase]
    chats: pd.DataFrame

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
        return self.chats.loc[self.chats["strategy"] == strategy, metric].dropna().tolist()

    def wasted(self) -> dict[str, Mean]:
        """Strategy -> mean of tokens wasted per abort, with its interval; those without an abort are left out."""
        found = {
            str(name): mean_interval(dict(enumerate(block.tolist() for _number, block in own.groupby("block")[WASTE])))
            for name, own in self.chats.dropna(subset=[WASTE]).groupby("strategy")
        }
        return {name: found[name] for name in self.strategies if name in found}


def chats_of(run: Run) -> pd.DataFrame:
    """A row per chat: its case's key, block, stop and wasted tokens (NaN where it has none)."""
    rows = [(*chat.key, chat.block, chat.measured.upstream_stop_ms, chat.measured.wasted_tokens) for chat in run.chats]
    return pd.DataFrame(rows, columns=[*CaseKey._fields, "block", STOP, WASTE]).astype({STOP: float, WASTE: float})


def panels_of(run: Run, cases: Sequence[SummaryCase]) -> list[Panel]:
    """Each scenario at its most measured load: two loads in one curve would be a mixture of both."""
    usual = Counter(case.workers for case in cases).most_common(1)[0][0] if cases else 0
    chats, panels = chats_of(run), []
    for scenario in dict.fromkeys(case.scenario for case in cases):
        own = [case for case in cases if case.scenario == scenario]
        loads = Counter(map(place_of, own))
        load = max(loads, key=lambda load: (loads[load], load.workers == usual))
        here = (chats[list(load._fields)] == list(load)).all(axis="columns")
        panels.append(Panel([case for case in own if place_of(case) == load], chats[here]))
    return panels


def costs_of(run: Run, panel: Panel | None) -> Mapping[str, pd.DataFrame]:
    """Metric -> its values of the scenario without aborts: a row per block, a column per strategy that has some."""
    values = block_values(run, middles={})
    found: dict[str, dict[str, Mapping[int, float]]] = {}
    for case in panel.cases if panel else ():
        for (key, metric), blocks in values.items():
            if key == case.key:
                found.setdefault(metric, {})[case.strategy] = blocks
    return {metric: pd.DataFrame(own) for metric, own in found.items()}


def by_pace(panels: Sequence[Panel], scenarios: Scenarios) -> dict[float, list[SummaryCase]]:
    """Time between tokens -> cases, of the first scenario at each pace whose aborts fall into a flowing answer."""
    found: dict[float, list[SummaryCase]] = {}
    for panel in panels:
        each = scenarios.get(panel.scenario, ScenarioSettings())
        plain = each.abort_by != "hangup" and not (each.count_only or each.read_pause_ms or each.stall_ms)
        if each.itl_ms and plain and set(each.abort_over) <= {"stream"}:
            found.setdefault(each.itl_ms, panel.cases)
    return dict(sorted(found.items()))


def by_workers(cases: Sequence[SummaryCase], scenarios: Scenarios, moments: Sequence[Moment]) -> tuple[str, Counts]:
    """`(scenarios, counts)` of the first scenario of each number of workers.

    Where only aborts that reach another worker count, all that were sent are counted here: else memory would miss
    every one, whatever the number of workers.
    """
    settings = {case.scenario: scenarios.get(case.scenario, ScenarioSettings()) for case in cases}
    # Of the same number of workers, the last one of a dictionary wins.
    of_aborts = [case for case in reversed(cases) if settings[case.scenario].abort_by != "hangup"]
    scenario_of = dict(sorted({case.workers: case.scenario for case in of_aborts}.items()))
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for case in cases:
        if case.aborts and case.scenario == scenario_of.get(case.workers):
            counts = case.missed, case.aborts
            if settings[case.scenario].count_only:
                sent = [each for each in moments if each.key == case.key and each.accepted_ns]
                own = [each for each in sent if each.counted or each.lost_ns]
                counts = sum(each.lost_ns is None for each in own), len(own)
            if counts[1]:
                found.setdefault(case.strategy, {})[case.workers] = counts
    return ", ".join(dict.fromkeys(scenario_of.values())), found


def knee_of(folder: Path) -> list[dict[str, Any]]:
    """The points of knee.json, a list or `{"points": [...]}`; none when there is no such file that can be read."""
    try:
        found = json.loads((folder / "knee.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return list(found.get("points", []) if isinstance(found, dict) else found)
