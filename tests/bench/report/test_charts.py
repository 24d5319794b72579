"""Charts: censored curves, looks that differ without colour, data that is lacking; sentences computed from data."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.reading import read_run
from bench.analysis.summary import summarise, write_summary
from bench.report.charts import canvas
from bench.report.charts.canvas import STYLES, Chart, style_of
from bench.report.charts.cost import cost_facts
from bench.report.charts.data import Panel, costs_of, panels_of
from bench.report.charts.draw import draw_all
from bench.report.charts.failure import draw_workers
from bench.report.charts.stop import curve_of, tail_curve
from bench.report.charts.timeline import COLOURS, SIGNS, WASTED_MARK
from bench.report.formatting import mean_text, measured
from bench.workload.strategies import scenario_rank, strategy_rank
from tests.bench import fake_results as fake

PNG, SVG = b"\x89PNG", b"<?xml"
THREE = ("redis-push", "postgres-poll", "none")
OF_STOPS = {"stop-ecdf", "stop-tail", "stop-by-scenario", "stop-lanes", "stop-where", "stop-in-gap", "wasted-tokens",
            "stop-over-time", "waste-price"}  # fmt: skip
OF_COSTS = {"cost", "cost-against-stop"}
ELSEWHERE = {"stop-by-pace", "missed-by-workers", "outage", "knee"}


def drawn(folder: Path, **what: object) -> list[Chart]:
    run = read_run(fake.write(folder, **what))  # type: ignore[arg-type] # forwarded as they are
    return draw_all(run, write_summary(run))


def test_missed_aborts_keep_the_curve_and_its_band_below_one() -> None:
    x, share_, low, high = curve_of([1.0, 2.0, 4.0], 4, (0.5, 10.0))
    assert x.tolist() == [0.5, 1, 2, 4, 10]
    assert share_.tolist() == [0, 0.25, 0.5, 0.75, 0.75]
    assert (low <= share_).all()
    assert high[-1] < 1


def test_all_missed_is_a_curve_on_the_ground() -> None:
    x, share_, _low, _high = curve_of([], 300, (0.5, 10.0))
    assert (x.tolist(), share_.tolist()) == ([0.5, 10], [0, 0])


def test_the_tail_ends_where_aborts_are_missed() -> None:
    one_in, slow = tail_curve(np.array([1.0, 2.0, 3.0, 4.0]), 5)
    assert slow.tolist() == [1, 2, 3, 4]
    assert one_in.tolist() == [5 / 5, 5 / 4, 5 / 3, 5 / 2]  # 2 of 5 are as slow as 4 ms, or missed


def test_every_strategy_has_a_look_of_its_own_without_colour() -> None:
    assert set(STYLES) == set(fake.STRATEGIES)
    assert len({(style.line, style.marker) for style in STYLES.values()}) == len(STYLES)
    assert style_of("redis-telepathy") not in STYLES.values()


# What people without the long, and without the middle wavelength cones see (severity 1, linear RGB).
# Source: Machado, Oliveira and Fernandes (2009), A physiologically-based model for simulation of color vision
# deficiency.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
TOLD_APART = 10.0  # CIE 1976 colour difference; 2.3 is just noticeable side by side


def seen(colour: str, sight: str) -> np.ndarray[Any, Any]:
    """CIELAB of a colour as somebody with this sight has it."""
    parts = np.asarray([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(BLIND[sight]) @ linear, 0, 1)
    xyz = np.asarray([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(np.maximum(xyz / np.asarray([0.9505, 1.0, 1.089]), 1e-6))
    return np.asarray([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", BLIND)
def test_the_colour_blind_tell_strategies_and_parts_apart(sight: str) -> None:
    """By colour where the marker is the same (where there is no line, marker and colour are all there is)."""
    for one, other in itertools.combinations(STYLES.values(), 2):
        far = float(np.linalg.norm(seen(one.colour, sight) - seen(other.colour, sight)))
        assert one.marker != other.marker or far >= TOLD_APART, (one, other, far)
    for one_, other_ in itertools.pairwise(COLOURS):
        assert float(np.linalg.norm(seen(one_, sight) - seen(other_, sight))) >= TOLD_APART


def test_a_wasted_token_has_a_mark_of_its_own() -> None:
    assert WASTED_MARK not in {"o", *(marker for marker, *_rest in SIGNS.values())}


@pytest.mark.usefixtures("no_pictures")
def test_what_could_not_be_drawn_names_the_command_that_adds_it(tmp_path: Path) -> None:
    charts = {chart.name: chart.reading for chart in drawn(tmp_path, scenarios=["flowing"], strategies=THREE, chats=8)}
    assert charts["stop-by-pace"].endswith(" make bench SCENARIO=flowing,fast,slow adds it.")
    assert charts["outage"].endswith(" make bench SCENARIO=flowing,outage adds it.")
    assert charts["cost"].endswith(" make bench SCENARIO=flowing,steady adds it.")
    assert charts["knee"].endswith(
        f" .venv/bin/python -m bench knee all --into {tmp_path.parent.name}/{tmp_path.name} adds it."
    )


@pytest.mark.usefixtures("no_pictures")
def test_a_picture_of_no_missed_abort_is_not_drawn(tmp_path: Path) -> None:
    counts = {name: {1: (0, 300), 2: (0, 300)} for name in ("redis-push", "redis-poll")}
    chart = draw_workers(tmp_path, "flowing", counts)
    assert (chart.drawn, chart.empty) == (False, True)
    assert chart.reading.startswith("Not drawn: no abort was missed by any of the 2 strategies")
    assert draw_workers(tmp_path, "flowing", {**counts, "memory-push": {1: (0, 300), 2: (150, 300)}}).drawn


def test_order_is_the_table_s_and_strangers_come_last() -> None:
    assert sorted(["x", "none", "redis-push", "a"], key=strategy_rank) == ["redis-push", "none", "a", "x"]
    assert sorted(["zz", "steady", "flowing"], key=scenario_rank) == ["flowing", "steady", "zz"]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("what", "lacking"),
    [
        pytest.param({"strategies": ["redis-push", "disconnect", "none"]}, set(), id="few strategies"),
        pytest.param(
            {"strategies": ["none"]},
            {"stop-tail", "stop-where", "stop-in-gap", "cost-against-stop"},
            id="all missed",
        ),
        pytest.param({"strategies": ["redis-push", "redis-poll"], "blocks": 3}, set(), id="no control, blocks"),
        pytest.param({"scenarios": ["flowing"]}, OF_COSTS, id="no steady"),
        pytest.param({"scenarios": ["steady"]}, OF_STOPS | {"cost-against-stop"}, id="no aborts"),
        pytest.param({"strategies": ["my-own"], "scenarios": ["flowing"]}, OF_COSTS, id="a stranger"),
        pytest.param({"chats": 3}, {"cost-against-stop", "stop-in-gap"}, id="too few for a median"),
    ],
)
def test_charts_cope_with_what_is_there(tmp_path: Path, what: dict[str, object], lacking: set[str]) -> None:
    charts = drawn(tmp_path, **{"chats": 8, "strategies": THREE, **what})
    assert {chart.name for chart in charts if not chart.drawn} == lacking | ELSEWHERE
    for chart in charts:
        assert chart.reading.endswith(".")
        assert chart.reading.startswith("Not drawn: ") == (not chart.drawn)
        for kind in ("png", "svg"):
            assert (tmp_path / "charts" / f"{chart.name}.{kind}").exists() == chart.drawn


@pytest.mark.usefixtures("no_pictures")
def test_one_chat_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    names = {chart.name for chart in drawn(tmp_path, chats=1, strategies=["redis-push"]) if chart.drawn}
    assert {"stop-ecdf", "stop-lanes", "stop-where", "waste-price"} <= names


def test_every_chart_is_drawn_when_the_record_has_it_all(rich: Path) -> None:
    pictures = [path.read_bytes()[:5] for path in (rich / "charts").iterdir()]
    assert {each[:4] for each in pictures} == {PNG, SVG[:4]}
    names = {path.stem for path in (rich / "charts").glob("*.png")}
    assert names == OF_STOPS | OF_COSTS | ELSEWHERE | {"stop-by-scenario-2", "stop-by-scenario-3"}


@pytest.mark.usefixtures("no_pictures")
def test_cases_without_a_single_chat_are_drawn_empty(tmp_path: Path) -> None:
    rng = random.Random(1)
    cases = [fake.case("redis-push", scenario, [], rng) for scenario in ("flowing", "steady")]
    fake.write_raw(tmp_path, fake.manifest(), [], cases)
    run = read_run(tmp_path)
    assert [chart.name for chart in draw_all(run, write_summary(run)) if chart.drawn] == ["cost"]


@pytest.mark.usefixtures("no_pictures")
def test_a_curve_never_mixes_two_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    def watch(_folder: Path, panels: Sequence[Panel], *_how: object) -> Chart:
        seen.extend((panel.title, len(panel.samples("redis-push", "wasted_tokens"))) for panel in panels)
        return Chart("stop-ecdf", "")

    monkeypatch.setattr("bench.report.charts.draw.draw_ecdf", watch)
    rng = random.Random(1)
    loads = {2: [fake.chat("redis-push", "flowing", index, rng) for index in range(8)]}
    loads[4] = [fake.chat("redis-push", "flowing", index, rng) | {"workers": 4} for index in range(5)]
    for row in loads[4]:
        row["request_id"] += "-4"
    cases = [fake.case("redis-push", "flowing", rows, rng) | {"workers": workers} for workers, rows in loads.items()]
    fake.write_raw(tmp_path, fake.manifest(scenarios=["flowing"]), [*loads[2], *loads[4]], cases)
    run = read_run(tmp_path)
    draw_all(run, write_summary(run))
    assert seen == [("flowing: 2 workers, 50 streams", 8)]


def test_sentences_name_what_the_numbers_say(tmp_path: Path) -> None:
    run = read_run(fake.write(tmp_path, chats=80))
    cases = write_summary(run).cases
    panels = {panel.scenario: panel for panel in panels_of(run, cases)}
    flowing = panels["flowing"].cases
    by_name = {case.strategy: case for case in flowing}
    stop = canvas.chart("stop-ecdf", cases=flowing).reading
    assert f"the median stop is {measured(by_name['disconnect'])} with disconnect" in stop
    assert "the slowest" in stop
    assert f"memory-push ({by_name['memory-push'].missed} of 80, " in stop
    assert "none (80 of 80, 95 to 100 %)" in stop
    assert "differ most in stalled" in canvas.chart("stop-by-scenario", cases=cases).reading
    wasted = panels["flowing"].wasted()
    reading = canvas.chart("wasted-tokens", scenario="flowing", means=wasted).reading
    assert f"{mean_text(wasted['none'])} without any stop (none)" in reading
    assert f"{mean_text(wasted['disconnect'])} with disconnect" in reading
    costs = costs_of(run, panels["steady"])
    two = {metric: values.filter(["postgres-poll", "none"]) for metric, values in costs.items()}
    reading = canvas.chart("cost", **cost_facts(two)).reading
    assert "postgres-poll uses its store most: 1.00 operations per token" in reading
    assert "lowest throughput is 97.0 % of none's" in canvas.chart("cost", **cost_facts(costs)).reading


def test_intervals_that_overlap_are_named(tmp_path: Path) -> None:
    folder = fake.write(tmp_path, strategies=["redis-push", "postgres-push"], scenarios=["flowing"], chats=80)
    assert "(its interval overlaps with " in canvas.chart("stop-ecdf", cases=summarise(folder).cases).reading
