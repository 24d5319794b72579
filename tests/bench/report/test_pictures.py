"""What a reader sees: no text cut off or on top of another one, a legend of all curves, text that a phone can show."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from bench.analysis.reading import read_run
from bench.analysis.summary import write_summary
from bench.report.charts.canvas import LEAST_PT, WIDTH_IN
from bench.report.charts.draw import draw_all
from bench.report.pictures import data_uri
from tests.bench import fake_results
from tests.bench.report.conftest import Drawn

CURVES = ("stop-ecdf", "stop-tail", "stop-in-gap", "stop-by-pace", "cost-against-stop")


def test_the_texts_of_every_chart_are_whole_and_apart(rendered: tuple[Path, Drawn]) -> None:
    _folder, drawn = rendered
    assert len(drawn) >= 14
    assert {name: wrong for name, wrong in drawn.items() if wrong} == {}


@pytest.mark.parametrize(
    ("strategies", "chats"),
    [(["redis-push"], 20), (["none", "redis-poll"], 3), (["my-own", "disconnect"], 8), (["none"], 8)],
)
def test_also_with_few_strategies(tmp_path: Path, laid_out: Drawn, strategies: list[str], chats: int) -> None:
    run = read_run(fake_results.write(tmp_path, chats=chats, strategies=strategies, scenarios=["flowing", "steady"]))
    draw_all(run, write_summary(run))
    assert laid_out
    assert {name: wrong for name, wrong in laid_out.items() if wrong} == {}


def test_no_chart_loses_a_curve_s_name(rendered: tuple[Path, Drawn]) -> None:
    """Curves carry no names: the legend lists them all."""
    _folder, drawn = rendered
    stopped = set(fake_results.STRATEGIES) - {"none"}
    for chart in CURVES:
        assert drawn.legends[chart] >= stopped, chart
    assert "none" in drawn.legends["stop-ecdf"]
    assert drawn.legends["missed-by-workers"] >= {"memory-push", "memory-poll"}


def test_only_coordinates_are_shortened() -> None:
    svg = "<svg><path d='M 12.34567 0'/><text x='1.23456'>no service: 0.528 ms [0.0745 to 1.2345]</text></svg>"
    shown = unquote(data_uri(svg))
    assert "0.528 ms [0.0745 to 1.2345]" in shown
    assert "M 12.34 0" in shown


def test_a_phone_shows_the_smallest_text_at_seven_points() -> None:
    phone_in = (375 - 2 * 8 - 2 * 3) / 96  # less the page's and the picture's margins, see style.css
    assert LEAST_PT * phone_in / WIDTH_IN >= 7
