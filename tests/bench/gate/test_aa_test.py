"""The A/A test: what it leaves out instead of failing, and when it reports too many false alarms."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from bench.cli import gate as cli_gate
from bench.gate import INVALID, GateError, aa_test
from bench.gate.aa_test import AAResult, evaluate
from bench.gate.margins import margins
from bench.gate.outcome import Outcome
from bench.record.verdict import FalseAlarms, Noise, NoiseMetric
from tests.bench.fake_gate import write_run

STOPS = {"postgres-push": 2.0}


def two_sides(tmp_path: Path, **more: Any) -> list[Path]:
    names = (("a", 1), ("b", 2))
    return [write_run(tmp_path / name, stop_ms=STOPS, seed=seed, **({"blocks": 40} | more)) for name, seed in names]


def test_a_metric_with_too_few_pairs_is_named_and_not_used(tmp_path: Path) -> None:
    """PostgreSQL's operations are counted in the first block only."""
    found = evaluate(two_sides(tmp_path, ops_in=(0,)))
    assert "store_ops_per_token: 1 pairs, not used (10 needed)" in found.left_out
    assert "store_ops_per_token" not in found.noise.metrics
    assert found.noise.metrics["upstream_stop_ms"].pairs == 40


def test_both_sides_are_judged_with_the_margins_of_their_noise(tmp_path: Path) -> None:
    found = evaluate(two_sides(tmp_path))
    stop = next(each.decision for each in found.outcome.findings if each.metric == "upstream_stop_ms")
    assert (found.outcome.mode, found.folder) == ("turns", tmp_path / "b")
    assert len(stop.changes) == 40
    assert stop.margin == margins(found.noise).of["upstream_stop_ms"]


def test_unhealthy_blocks_are_no_noise(tmp_path: Path) -> None:
    found = evaluate(two_sides(tmp_path, unhealthy=(3, 5)))
    assert found.noise.metrics["upstream_stop_ms"].pairs == 38
    assert any("2 unhealthy blocks excluded" in line for line in found.left_out)


def test_without_any_usable_pair_there_is_no_noise(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="let `bench aa` measure more blocks"):
        evaluate(two_sides(tmp_path, blocks=4))


def found(rate: float | None, folder: Path = Path()) -> AAResult:
    alarms = FalseAlarms(comparisons=20, alarms=2, rate=rate, uncorrected=0.15)
    if rate is None:
        alarms = FalseAlarms(comparisons=0, alarms=0)
    metrics = {"ttft_ms": NoiseMetric(pairs=40, spread=0.02)}
    noise = Noise(made_utc="now", metrics=metrics, false_alarms={"redis-push in flowing": alarms})
    return AAResult(noise, Outcome(), folder)


def test_the_table_shows_the_rate_before_and_after_the_correction() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(found(0.10).table())
    console.print(found(None).table())
    text = console.export_text()
    assert "2 (10%; uncorrected 15%)" in text
    assert "too few blocks" in text


@pytest.mark.parametrize(("rate", "code"), [(0.10, 1), (0.05, 0), (0.0, 0), (None, 0)])
def test_more_than_one_false_alarm_in_twenty_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float | None, code: int
) -> None:
    done = aa(tmp_path, monkeypatch, lambda *_, **__: found(rate, tmp_path))
    assert done.exit_code == code, done.output
    assert ("redis-push in flowing" in done.stderr) == (code == 1)
    assert json.loads((tmp_path / "noise.json").read_text())["metrics"]["ttft_ms"]["pairs"] == 40
    assert json.loads((tmp_path / "verdict.json").read_text())["mode"] == "turns"


def test_too_little_noise_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object, **__: object) -> AAResult:
        raise GateError("no metric has 10 usable A/A pairs", INVALID)

    done = aa(tmp_path, monkeypatch, measure)
    assert (done.exit_code, done.stderr) == (2, "bench: no metric has 10 usable A/A pairs\n")


def aa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: Any) -> Any:
    monkeypatch.setattr(aa_test, "measure", measure)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(cli_gate.aa)
    return CliRunner().invoke(app, ["--results", str(tmp_path), "--noise", str(tmp_path / "noise.json")])
