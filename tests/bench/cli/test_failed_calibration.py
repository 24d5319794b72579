"""A calibration that does not find again what was injected makes the run invalid: exit code 2, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from bench.analysis.summary import summarise
from bench.cli import show
from tests.bench import fake_results as fake

Bend = tuple[str, float | None, str]


@pytest.mark.parametrize(
    "bend",
    [("delay", 0.0, ""), ("delay", 0.8, "a delay of 10 ms was measured as"), ("drop", None, "exactly 4 were lost")],
)
def test_a_run_is_only_as_good_as_its_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bend: Bend
) -> None:
    (arm, late_ms, says), chat = bend, fake.chat

    def bent(strategy: str, scenario: str, index: int, *rest: Any, **named: Any) -> dict[str, Any]:
        """Stops that come too late by so much, or (None) one loss that nobody injected."""
        odd = strategy == f"calibration-{arm}" and (late_ms is not None or index == 50)
        row = chat("none" if odd and late_ms is None else strategy, scenario, index, *rest, **named)
        if odd and late_ms is not None and row["witness"]["lost_ns"]:
            row["witness"]["lost_ns"] += int(late_ms * 1e6)
        return row | {"strategy": strategy, "request_id": f"{strategy}-{scenario}-{index}"}

    monkeypatch.setattr(fake, "chat", bent)
    folder = fake.write(tmp_path / "run", strategies=["redis-push"], scenarios=["flowing"], chats=40, special=True)
    monkeypatch.setattr("bench.report.render.render", lambda folder: summarise(folder) and folder / "report.html")
    if not says:
        show.report(folder)
        return
    with pytest.raises(typer.Exit) as ended:
        show.report(folder)
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert "bench: problem: calibration: " in said
    assert says in said
    assert "the measurement is invalid" in said
