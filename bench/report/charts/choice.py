"""What the charts are drawn from: which scenarios and cases go together, block by block, worker by worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.analysis.moments import Moment
from bench.analysis.reading import Run, case_key
from bench.analysis.summary import block_values
from bench.report.charts.canvas import Case, Chart, Panel
from bench.report.formatting import more_scenarios

Settings = dict[str, Any]  # the manifest's `scenarios`
ADDED_BY = {
    "stop-by-pace": ("flowing", "fast", "slow"),
    "cost": ("steady",),
    "cost-against-stop": ("flowing", "steady"),
    "missed-by-workers": ("wrong-worker",),
    "outage": ("outage",),
}
"""Chart -> the scenarios it is drawn from; all others need one in which Stop is pressed."""


def costs_of(run: Run, panel: Panel | None) -> dict[str, dict[str, dict[int, float]]]:
    """Strategy -> metric -> block -> value, of the scenario in which nobody stops."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for case in panel.cases if panel else ():
        key, found = case_key(case), values.setdefault(case["strategy"], {})
        chats = [chat for chat in run.chats if chat.key == key]
        for row in run.cases:
            if case_key(row) == key:
                for metric, (value, *_none_else) in block_values(chats, [row]).items():
                    found.setdefault(metric, {})[row["block"]] = value
    return values


def with_command(chart: Chart, run: Run) -> Chart:
    """A chart that could not be drawn, with the command that measures what it lacks."""
    if chart.name == "knee":
        folder = run.folder.resolve()
        command = f".venv/bin/python -m bench knee all --into {folder.parent.name}/{folder.name}"
    else:
        command = more_scenarios(run.manifest, *ADDED_BY.get(chart.name, ("flowing",)))
    return replace(chart, reading=f"{chart.reading} {command} adds it.")


def everywhere(cases: Sequence[Case], panel: Panel) -> list[Case]:
    """The panel's scenario at every load."""
    return [case for case in cases if case["scenario"] == panel.scenario]


def by_pace(panels: Sequence[Panel], settings: dict[str, Any]) -> dict[float, list[Case]]:
    """Time between tokens -> cases, of the first scenario at each pace whose aborts fall into a flowing answer."""
    found: dict[float, list[Case]] = {}
    for panel in panels:
        scenario = settings.get(panel.scenario) or {}
        if scenario.get("itl_ms") and not scenario.get("stall_ms") and _usual(scenario, {"stream"}):
            found.setdefault(float(scenario["itl_ms"]), panel.cases)
    return found


def _usual(scenario: dict[str, Any], windows: set[str]) -> bool:
    """Whether Stop is pressed, all presses count, and they fall into these windows (records had one as a string)."""
    over = scenario.get("abort_over") or "stream"
    pressed = scenario.get("abort_by") != "hangup" and not scenario.get("count_only")
    return pressed and not scenario.get("read_pause_ms") and ({over} if isinstance(over, str) else set(over)) <= windows


def by_workers(
    cases: Sequence[Case], settings: dict[str, Any], moments: Sequence[Moment]
) -> tuple[str, dict[str, dict[int, tuple[int, int]]]]:
    """Where, and strategy -> number of workers -> (missed, aborts): in the first scenario of each number of workers.

    Where only aborts that land on another worker count, all that were pressed are counted here again: else memory
    would miss every one, whatever the number of workers.
    """
    scenario_of: dict[int, str] = {}
    for case in cases:
        if (settings.get(case["scenario"]) or {}).get("abort_by") != "hangup":
            scenario_of.setdefault(case["workers"], case["scenario"])
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for case in cases:
        if not case["aborts"] or case["scenario"] != scenario_of.get(case["workers"]):
            continue
        counts = case["missed"], case["aborts"]
        if (settings.get(case["scenario"]) or {}).get("count_only"):
            key = case_key(case)
            own = [each for each in moments if each.key == key and each.accepted_ns and (each.counted or each.lost_ns)]
            counts = sum(each.lost_ns is None for each in own), len(own)
        if counts[1]:
            found.setdefault(case["strategy"], {})[case["workers"]] = counts
    where = ", ".join(dict.fromkeys(scenario_of[workers] for workers in sorted(scenario_of)))
    return where, found


def knee_of(folder: Path) -> list[dict[str, Any]]:
    """The points of knee.json, a list or `{"points": [...]}`; none when there is no such file that can be read."""
    try:
        found = json.loads((folder / "knee.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    points: list[dict[str, Any]] = found.get("points", []) if isinstance(found, dict) else found
    return points
