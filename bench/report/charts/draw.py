"""Draws all charts of a run into a charts/ folder, from what was measured and the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.moments import median_chats, read_timelines
from bench.analysis.parts import parts_by_case
from bench.analysis.reading import Run, case_key
from bench.analysis.summary import Summary
from bench.report.charts.canvas import Case, Chart, Panel, log_limits
from bench.report.charts.choice import by_pace, by_workers, costs_of, everywhere, knee_of, with_command
from bench.report.charts.cost import draw_cost, draw_waste
from bench.report.charts.failure import draw_outage, draw_workers, knee_chart
from bench.report.charts.gap import draw_gap, draw_pace
from bench.report.charts.lanes import draw_lanes
from bench.report.charts.stop import draw_by_scenario, draw_ecdf
from bench.report.charts.tail import draw_tail
from bench.report.charts.value import draw_money, draw_trade
from bench.report.charts.where import draw_where
from bench.workload.strategies import CALIBRATION, is_special

__all__ = ["Chart", "draw_all", "stop_limits"]

FIRST = ("flowing", "stalled", "first-token")  # what the charts of curves show, as far as it was run
MOST_CURVES = 2  # panels of such a chart: more would not be read


def draw_all(
    run: Run, summary: Summary, out: Path | None = None, limits: tuple[float, float] | None = None
) -> list[Chart]:
    """Draw every chart as PNG and SVG into `out`/charts (the run's folder by default), in the order of the report.

    One that lacks its data is given with `drawn` false, the reason, and the command that would add it; `limits` are
    those of the axes of stops, ms.
    """
    out, limits, floor = out or run.folder, limits or stop_limits(run), summary.get("floor")
    cases = [case for case in summary["cases"] if not is_special(case["scenario"])]
    chats, usual = _frame(run), Counter(case["workers"] for case in cases).most_common(1)[0][0] if cases else 0
    faults = {(case_key(row), row["block"]): row["fault"] for row in run.cases if row.get("fault")}
    panels = [_panel(scenario, cases, chats, usual) for scenario in dict.fromkeys(case["scenario"] for case in cases)]
    aborted = [panel for panel in panels if any(case["aborts"] for case in panel.cases)]
    whole = [panel for panel in aborted if not any(key.scenario == panel.scenario for key, _block in faults)]
    first = ([panel for panel in whole if panel.scenario in FIRST] or whole)[:MOST_CURVES]
    steady = next((panel for panel in panels if panel.scenario == "steady"), None)
    costs = costs_of(run, steady)
    home = first[0] if first else None
    keys = [case_key(case) for case in home.cases] if home else []
    chosen = median_chats(run, keys)
    times = read_timelines(run, set(chosen.values()))
    settings: dict[str, Any] = run.manifest.get("scenarios") or {}
    itl_ms = float(settings.get(home.scenario, {}).get("itl_ms") or 0) if home else 0.0
    lanes = {strategy: times.rows[id_] for strategy, id_ in chosen.items() if id_ in times.rows}
    charts = [
        draw_ecdf(out, first, floor, limits),
        draw_tail(out, first, floor, limits),
        draw_lanes(out, lanes, itl_ms or 20.0, home.title if home else ""),
        draw_where(out, first, parts_by_case(run)),
        draw_gap(out, home, times.moments, itl_ms),
        draw_pace(out, by_pace(whole, settings), floor),
        *draw_by_scenario(out, whole, floor, limits),
        draw_waste(out, first),
        draw_money(out, home),
        draw_cost(out, steady, costs),
        draw_trade(out, home, costs),
        draw_workers(
            out, *by_workers([case for panel in whole for case in everywhere(cases, panel)], settings, times.moments)
        ),
        draw_outage(out, faults, times.moments),
        knee_chart(out, knee_of(run.folder)),
    ]
    return [chart if chart.drawn else with_command(chart, run) for chart in charts]


def stop_limits(*runs: Run) -> tuple[float, float]:
    """Limits of the axes of stops that hold every stop of these runs, ms."""
    return log_limits([
        chat.measured.upstream_stop_ms
        for run in runs for chat in run.chats
        if chat.measured.upstream_stop_ms and chat.key.scenario != CALIBRATION
    ])  # fmt: skip


def _frame(run: Run) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": [tuple(chat.key) for chat in run.chats],
            "strategy": [chat.key.strategy for chat in run.chats],
            "block": [chat.block for chat in run.chats],
            "upstream_stop_ms": pd.Series([chat.measured.upstream_stop_ms for chat in run.chats], dtype="float64"),
            "wasted_tokens": pd.Series([chat.measured.wasted_tokens for chat in run.chats], dtype="float64"),
        }
    )


def _panel(scenario: str, cases: Sequence[Case], chats: pd.DataFrame, usual_workers: int) -> Panel:
    """The scenario at its most measured load: two loads in one curve would be a mixture of neither."""
    own = [case for case in cases if case["scenario"] == scenario]
    loads = Counter((case["workers"], case["streams"]) for case in own)
    load = max(loads, key=lambda load: (loads[load], load[0] == usual_workers))
    shown = [case for case in own if (case["workers"], case["streams"]) == load]
    keys = {tuple(case_key(case)) for case in shown}
    return Panel(scenario, shown, chats[chats["key"].isin(keys)])
