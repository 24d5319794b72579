"""The knee in the report: what was not reached is a lower bound, and every strategy has its own limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from bench.report.charts import canvas
from bench.report.charts.failure import draw_knee, outage_facts


def point(strategy: str, aborts_per_s: float, ended_by: str, limit_ms: float = 22.4) -> dict[str, Any]:
    """A row of knee.json, see bench.experiments.knee_run.as_point."""
    return {
        "strategy": strategy, "aborts_per_s": aborts_per_s, "chats_per_s": aborts_per_s / 0.925,
        "ci95": None if ended_by in ("load", "time") else [aborts_per_s * 0.9, aborts_per_s * 1.1],
        "limit_ms": limit_ms, "ended_by": ended_by, "at_least": ended_by in ("load", "time"), "why": "",
    }  # fmt: skip


def knee_text(points: list[dict[str, Any]]) -> str:
    return canvas.chart("knee", points=points).reading


def test_a_search_that_gave_up_is_a_lower_bound_and_limits_are_each_one_s_own() -> None:
    says = knee_text([point("redis-push", 712, "slow"), point("redis-timer", 410, "slow", 121.3)])
    assert "712 [641 to 783] with redis-push (the next rate: stop p99 over 22.4 ms)" in says
    assert "with redis-timer (the next rate: stop p99 over 121 ms)" in says
    says = knee_text([point("redis-push", 712, "load"), point("redis-poll", 75, "missed"), point("x", 0, "load")])
    assert "at least 712 with redis-push (the next rate: load at its limit)" in says
    assert "75.0 [67.5 to 82.5] with redis-poll (the next rate: aborts missed)" in says
    assert "Marked ≥ (redis-push): the service sustained" in says
    assert "Not even the lowest rate could be tried with x (the next rate: load at its limit)" in says
    assert "p99" not in says


def test_the_chart_marks_it_and_says_what_ended_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def read(drawing: Figure, _stem: Path) -> None:
        axes = drawing.axes[0]
        texts.extend([*(text.get_text() for text in axes.texts), axes.get_xlabel()])

    monkeypatch.setattr(canvas, "save", read)
    chart = draw_knee(tmp_path, [point("redis-push", 712, "load"), point("redis-poll", 75, "slow", 121.3)])
    assert chart.drawn
    assert "≥ 712  (770)\nload at its limit" in texts
    assert "75.0  (81.1)\np99 over the limit" in texts
    assert any("p99 of 22.4 to 121 ms" in text and "≥: sustained, the limit is higher" in text for text in texts)


def test_rates_of_nothing_are_no_chart(tmp_path: Path) -> None:
    assert not draw_knee(tmp_path, [point("redis-push", 0, "load")]).drawn


def test_an_outage_in_which_nothing_was_accepted_is_a_whole_sentence() -> None:
    refused = {"strategy": "redis-push", "sent_s": 0.5, "accepted": False, "stopped_s": float("nan")}
    facts = outage_facts(pd.DataFrame([refused]), [1.0])
    says = canvas.chart("outage", **facts).reading
    assert says.endswith("1 were never accepted (503). No abort was accepted, so none could be lost.")
