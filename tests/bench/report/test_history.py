"""Which runs belong on one line, what is said of the others, and that the chart is drawn."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from matplotlib.image import imread

from bench.report.history import HistoryError, draw, history
from tests.bench.fake_gate import FLOWING, HOST, write_history

STOP = "upstream_stop_ms.p50"
LEVELS = [2.0, 2.05, 1.95, 2.02, 2.01, 2.6, 2.65, 2.55, 2.62, 2.61]


def spoil(folder: Path, **changes: object) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_line_in_order(tmp_path: Path) -> None:
    write_history(tmp_path, LEVELS)
    (tmp_path / "latest").symlink_to("20261101T100000Z-all")
    (tmp_path / "charts").mkdir()
    found = history(tmp_path, STOP)
    (line,) = found.lines.values()
    assert [point.value for point in line] == LEVELS
    assert line[0].interval == pytest.approx((1.9, 2.1))
    assert (line[0].commit, line[0].started_utc[:10]) == ("0000001", "2026-11-01")
    assert (found.runs, found.left_out) == (10, {})


def test_what_is_left_out_is_counted_by_its_reason(tmp_path: Path) -> None:
    write_history(tmp_path, [2.0, 2.0], host=HOST | {"cpus": 64})
    write_history(tmp_path, [2.0], first=3, quick=True)
    (invalid,) = write_history(tmp_path, [2.0], first=4)
    spoil(invalid, valid=False)
    (unreported,) = write_history(tmp_path, [2.0], first=5)
    (unreported / "summary.json").unlink()
    (other,) = write_history(tmp_path, [2.0], first=6)
    spoil(other, schema=9)
    write_history(tmp_path, [2.0], first=7, scenarios={"flowing": FLOWING | {"itl_ms": 5.0}})
    write_history(tmp_path, [9.0], first=12, side="base")
    write_history(tmp_path, [2.0], first=8, scenarios={"flowing": FLOWING | {"sentence": "In other words."}})
    write_history(tmp_path, [2.0, 2.1], first=9)
    found = history(tmp_path, STOP)
    assert [len(line) for line in found.lines.values()] == [3]
    assert found.left_out == {
        "from another machine": 2, "QUICK": 1, "invalid": 1, "without a report": 1, "of another schema": 1,
        "with another scenario setting": 1, "of a comparison": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("upstream_stop_ms",), "write it as name.statistic"),
        (("upstream_stop_ms.max",), "p50, p95, p99, mean"),
        (("speed.p50",), "choose from upstream_stop_ms"),
        (("upstream_stop_ms.p95",), "no run has upstream_stop_ms.p95"),
        ((STOP, "redis-poll"), "of redis-poll in any scenario: redis-push in flowing"),
        ((STOP, None, "stalled"), "of any strategy in stalled: redis-push in flowing"),
    ],
)
def test_what_nobody_measured_names_what_there_is(tmp_path: Path, asked: tuple[str, ...], words: str) -> None:
    write_history(tmp_path, [2.0, 2.0])
    with pytest.raises(HistoryError, match=words):
        history(tmp_path, *asked)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"no run to show \(no run folder\): run `make bench`"):
        history(tmp_path, STOP)
    write_history(tmp_path, [2.0], quick=True)
    with pytest.raises(HistoryError, match=r"\(1 QUICK\)"):
        history(tmp_path, STOP)


def test_the_chart_shows_something_and_is_the_same_each_time(tmp_path: Path) -> None:
    write_history(tmp_path, LEVELS)
    png, svg = draw(history(tmp_path, STOP), tmp_path)
    assert imread(png)[..., :3].std() > 0.05
    before = svg.read_bytes()
    draw(history(tmp_path, STOP), tmp_path)
    assert svg.read_bytes() == before
    write_history(tmp_path, [9.0], first=11)
    draw(history(tmp_path, STOP), tmp_path)
    assert svg.read_bytes() != before


def test_one_summary_is_in_memory_at_a_time(tmp_path: Path) -> None:
    most = []
    for runs in (4, 16):
        results = tmp_path / str(runs)
        for folder in write_history(results, [2.0] * runs):
            spoil(folder, warnings=[f"warning {number}" for number in range(20_000)])
        tracemalloc.start()
        history(results, STOP)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < 1.5 * most[0]
