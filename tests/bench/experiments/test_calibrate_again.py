"""`python -m bench calibrate`: each time is judged, and one that fails is told with exit code 2."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from bench.cli.instrument import calibrate
from bench.experiments import instrument
from bench.experiments.instrument import judged
from bench.record.schema import CaseRow, ChatRow
from tests.bench import fake_results as fake


def measured(*, lag_ms: float = 1.0) -> Any:
    """What a time with these chats would say."""
    rng = random.Random(1)
    rows = [
        fake.chat(f"calibration-{arm}", "calibration", index, rng)
        for arm in ("instant", "delay")
        for index in range(200)
    ]
    rows += [fake.chat("calibration-drop", "calibration", index, rng) for index in range(400)]
    rows += [fake.chat("floor", "floor", index, rng) for index in range(40)]
    health = {"processes": [], "steal": 0.0, "abort_lag_p99_ms": lag_ms, "chunks_per_s": 1.0}
    case = {"strategy": "a", "scenario": "calibration", "workers": 1, "streams": 1, "block": 0, "health": health}
    return judged(msgspec.convert(rows, list[ChatRow]), [msgspec.convert(case, CaseRow)])


def test_a_calibration_is_judged_by_its_figures_and_by_the_health_of_the_instrument() -> None:
    found = measured()
    assert found["problems"] == []
    assert found["calibration"]["drop_rate"]["lost"] == 4
    assert found["floor"]["n"] == 40
    (problem,) = measured(lag_ms=6.0)["problems"]
    assert problem.startswith("calibration: Stops left 6.0 ms after their planned moment")


@pytest.mark.parametrize("ill", [None, 3])
def test_one_failure_of_several_is_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ill: int | None
) -> None:
    seeds: list[int] = []

    def once(_results: Any, _say: Any, *, seed: int) -> Any:
        seeds.append(seed)
        return measured(lag_ms=9.0 if len(seeds) == ill else 1.0)

    monkeypatch.setattr(instrument, "calibrate_once", once)
    if ill is None:
        calibrate(times=4, seed=7, results=tmp_path)
    else:
        with pytest.raises(typer.Exit) as ended:
            calibrate(times=4, seed=7, results=tmp_path)
        assert ended.value.exit_code == 2
    said = capsys.readouterr()
    assert seeds == [7, 8, 9, 10]
    assert len(list(tmp_path.iterdir())) == 4
    assert f"recovered {4 if ill is None else 3} times of 4" in said.out
    assert ("time 3: calibration: Stops left 9.0 ms" in said.err) == (ill is not None)
