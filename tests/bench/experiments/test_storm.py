"""The storms: their goals from made-up samples, and one small run of every part."""

import gc
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.experiments.storm import retries, run, traffic
from bench.experiments.storm.goals import goals_of, recovery_s
from bench.system.garbage import without_collections

MASS = {"streams": 5000, "errors": 0, "silent": 0, "unstopped": 0, "uncut": 0, "upstream_stop_ms": {"max": 900.0}}
BEFORE = [(-6.0 + number / 100, 4.0) for number in range(100)]


def phases(abused_ms: float, **changes: Any) -> dict[str, Any]:
    alone = {"ttft_ms": [50.0 + number / 100 for number in range(100)], "stop_ms": [3.0] * 100, "failed": 0}
    abused = alone | {"ttft_ms": [abused_ms + number / 100 for number in range(100)]}
    return {"alone": alone, "abused": abused, "refusal_ms": [2.0] * 50, "lasted_s": 10.0, "opened": 200} | changes


def verdicts(mass: dict[str, Any] = MASS, missed: int = 0, **changes: Any) -> dict[str, str]:
    rounds = [phases(**({"abused_ms": 55.0 + number} | changes)) for number in range(5)]
    retry = {"stops": BEFORE, "missed": missed}
    goals = goals_of(mass, retry, {"churn": rounds}, starts_per_s=20.0)
    return {f"{goal['part']}: {goal['name']}": goal["verdict"] for goal in goals if goal["at_most"] is not None}


def test_all_goals_can_be_met() -> None:
    assert set(verdicts().values()) == {"met"}


@pytest.mark.parametrize(
    ("given", "missed"),
    [
        ({"mass": MASS | {"uncut": 1}}, "mass stop: not stopped, of 5,000"),
        ({"missed": 1}, "retry storm: stops missed"),
        ({"abused_ms": 80.0}, "churn: others' TTFT p99, ratio"),
        ({"refusal_ms": [2.0] * 40 + [9.0] * 10}, "churn: refusal p99"),
        ({"opened": 230}, "churn: upstreams opened / allowed"),
    ],
)
def test_each_goal_can_be_missed(given: dict[str, Any], missed: str) -> None:
    assert [name for name, verdict in verdicts(**given).items() if verdict == "missed"] == [missed]


@pytest.mark.parametrize(
    ("after", "recovered_s"),
    [
        ([(-1.9, 4.0)], 0.0),
        ([(-1.5, 1600.0)], 0.1),  # it ended after the slow time
        ([(0.5, 2000.0), (3.0, 4.0)], 2.5),
        ([(3.0, 20.0)], 0.0),  # within 20 ms of the time before
    ],
)
def test_the_storm_is_over_when_the_last_slow_stop_has_ended(after: list[Any], recovered_s: float) -> None:
    assert recovery_s([*BEFORE, *after]) == pytest.approx(recovered_s)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of what earlier tests have left
def test_a_load_collects_no_garbage_until_its_end() -> None:
    with without_collections():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_small_storm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BEFORE_S", 2.0)
    monkeypatch.setattr(retries, "AFTER_S", 2.0)
    monkeypatch.setattr(run, "SLOW_READERS", 20)
    monkeypatch.setattr(run, "STARTS_PER_S", 12.0)
    monkeypatch.setattr(traffic, "STEADY_PER_S", 10.0)
    console = Console(width=80, file=io.StringIO())
    file = tmp_path / "storm.json"
    given: dict[str, Any] = {"rounds": 1, "seconds": 2.0, "streams": 30, "knee_per_s": 12.0, "seed": 1}
    goals = run.measure_storms(console, file, **given)
    found = json.loads(file.read_text())
    assert found["goals"] == goals
    assert found["mass"]["upstreams_cut"] == 30
    assert found["retry"]["missed"] == 0
    assert found["retry"]["presses"] > found["retry"]["chats"]
    (churned,) = found["churn"]
    assert churned["statuses"]["429"] > 0
    assert 0 < churned["statuses"]["200"] <= churned["opened"] <= 12 * churned["lasted_s"] + 12
    (slow,) = found["slow-readers"]
    assert slow["opened"] == 20
    assert [slow["abused"]["failed"], churned["abused"]["failed"]] == [0, 0]
    assert len(slow["abused"]["ttft_ms"]) == 20
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "retry storm" in text
    assert "…" not in text
