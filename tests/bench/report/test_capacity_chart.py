"""The chart of a plan."""

from pathlib import Path

from bench.analysis.capacity import Demand, model_of
from bench.report.charts.capacity import draw_capacity
from tests.bench.small_plan import plan_record


def test_the_chart_names_each_strategy_and_where_its_store_is_full(tmp_path: Path) -> None:
    model = model_of(plan_record("redis-push", "redis-poll", "postgres-push"))
    drawn = draw_capacity(tmp_path, model, Demand(1e6, 40, 20, 0.1))
    assert drawn.drawn
    text = (tmp_path / "charts" / "capacity.svg").read_text()
    assert (tmp_path / "charts" / "capacity.png").stat().st_size > 10_000
    for words in (
        "redis-poll: ",
        "redis-push: ",
        "postgres-push: ",
        "one channel",
        "extrapolated",
    ):
        assert words in text
