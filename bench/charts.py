"""Draws all charts of a run into its charts/ folder, from what was measured and the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from bench.charts_canvas import Case, Chart, Panel
from bench.charts_cost import draw_cost, draw_waste
from bench.charts_stop import draw_by_scenario, draw_ecdf
from bench.reading import Run, case_key
from bench.stats import Summary, block_values

__all__ = ["Chart", "draw_all"]


def draw_all(run: Run, summary: Summary) -> list[Chart]:
    """Draw every chart as PNG and SVG; one that lacks its data is returned with `drawn` false and the reason."""
    chats = pd.DataFrame(
        {
            "key": [tuple(chat.key) for chat in run.chats],
            "strategy": [chat.key.strategy for chat in run.chats],
            "upstream_stop_ms": pd.Series([chat.measured.upstream_stop_ms for chat in run.chats], dtype="float64"),
            "wasted_tokens": pd.Series([chat.measured.wasted_tokens for chat in run.chats], dtype="float64"),
        }
    )
    panels = [_panel(scenario, summary["cases"], chats) for scenario in _names(summary["cases"])]
    aborted = [panel for panel in panels if any(case["aborts"] for case in panel.cases)]
    steady = next((panel for panel in panels if panel.scenario == "steady"), None)
    return [
        draw_ecdf(run.folder, aborted),
        draw_by_scenario(run.folder, aborted),
        draw_waste(run.folder, aborted),
        draw_cost(run.folder, steady, _values_of(run, steady)),
    ]


def _names(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(case["scenario"] for case in cases))


def _panel(scenario: str, cases: Sequence[Case], chats: pd.DataFrame) -> Panel:
    """The scenario at its most measured load: two loads in one curve would be a mixture of neither."""
    own = [case for case in cases if case["scenario"] == scenario]
    (load, _count), *_others = Counter((case["workers"], case["streams"]) for case in own).most_common(1)
    shown = [case for case in own if (case["workers"], case["streams"]) == load]
    keys = {tuple(case_key(case)) for case in shown}
    return Panel(scenario, shown, chats[chats["key"].isin(keys)])


def _values_of(run: Run, panel: Panel | None) -> dict[str, dict[str, list[float]]]:
    values = {}
    for case in panel.cases if panel else ():
        key = case_key(case)
        chats = [chat for chat in run.chats if chat.key == key]
        values[case["strategy"]] = block_values(chats, [row for row in run.cases if case_key(row) == key])
    return values
