"""Draws all charts of a run into a charts/ folder, from what was measured and the summary."""

from dataclasses import replace
from pathlib import Path

from bench.analysis.moments import median_chats, read_timelines
from bench.analysis.reading import Run
from bench.analysis.waterfall import parts_by_case
from bench.record.manifest import ScenarioSettings
from bench.record.summary import Summary
from bench.report.charts.canvas import Chart, log_limits, words_of
from bench.report.charts.cost import draw_cost, draw_money, draw_trade, draw_waste
from bench.report.charts.data import by_pace, by_workers, costs_of, knee_of, panels_of
from bench.report.charts.failure import draw_knee, draw_outage, draw_workers
from bench.report.charts.gap import draw_gap, draw_pace
from bench.report.charts.over_time import draw_run
from bench.report.charts.stop import draw_by_scenario, draw_ecdf, draw_tail
from bench.report.charts.timeline import draw_lanes, draw_where
from bench.report.formatting import bench_command
from bench.workload.strategies import CALIBRATION, is_special

FIRST = ("flowing", "stalled", "first-token")  # what the charts of curves show, as far as it was run
MOST_CURVES = 2  # panels of such a chart: more would be hard to read


def draw_all(
    run: Run, summary: Summary, out: Path | None = None, limits: tuple[float, float] | None = None
) -> list[Chart]:
    """Draw every chart as PNG and SVG into `out`/charts (the run's folder by default), in the order of the report.

    A chart without data has `drawn` false, the reason, and the command that would add it; `limits`: axes of stops, ms.
    """
    out, limits, floor, scenarios = out or run.folder, limits or stop_limits(run), summary.floor, run.manifest.scenarios
    cases = [case for case in summary.cases if not is_special(case.scenario)]
    faults = {(row.key, row.block): row.fault for row in run.cases if row.fault}
    panels = panels_of(run, cases)
    in_outage = {key.scenario for key, _block in faults}
    whole = [p for p in panels if any(case.aborts for case in p.cases) and p.scenario not in in_outage]
    first = ([panel for panel in whole if panel.scenario in FIRST] or whole)[:MOST_CURVES]
    home = first[0] if first else None
    steady = next((panel for panel in panels if panel.scenario == "steady"), None)
    costs = costs_of(run, steady)
    chosen = median_chats(run, [case.key for case in home.cases] if home else [])
    times = read_timelines(run, set(chosen.values()))
    itl_ms = scenarios.get(home.scenario, ScenarioSettings()).itl_ms if home else 0.0
    lanes = {strategy: times.rows[id_] for strategy, id_ in chosen.items() if id_ in times.rows}
    at_every_load = [case for panel in whole for case in cases if case.scenario == panel.scenario]
    charts = [
        draw_ecdf(out, first, floor, limits),
        draw_tail(out, first, floor, limits),
        draw_lanes(out, lanes, itl_ms or 20.0, home.title if home else ""),
        draw_run(out, run, times.moments, limits),
        draw_where(out, first, parts_by_case(run)),
        draw_gap(out, home, times.moments, itl_ms),
        draw_pace(out, by_pace(whole, scenarios), floor),
        *draw_by_scenario(out, whole, floor, limits),
        draw_waste(out, first),
        draw_money(out, home),
        draw_cost(out, steady, costs),
        draw_trade(out, home, costs),
        draw_workers(out, *by_workers(at_every_load, scenarios, times.moments)),
        draw_outage(out, faults, times.moments),
        draw_knee(out, knee_of(run.folder)),
    ]
    return [chart if chart.drawn or chart.empty else _with_command(chart, run) for chart in charts]


def _with_command(chart: Chart, run: Run) -> Chart:
    """A chart that could not be drawn, with the command that measures what it needs."""
    if chart.name == "knee":
        folder = run.folder.resolve()
        command = f".venv/bin/python -m bench knee all --into {folder.parent.name}/{folder.name}"
    else:
        command = bench_command(run.manifest, *words_of(chart.name).get("needs", ("flowing",)))
    return replace(chart, reading=f"{chart.reading} {command} adds it.")


def stop_limits(*runs: Run) -> tuple[float, float]:
    """Limits of the axes of stops that hold every stop of these runs, ms."""
    chats = [chat for run in runs for chat in run.chats if chat.key.scenario != CALIBRATION]
    return log_limits(chat.measured.upstream_stop_ms or 0.0 for chat in chats)
