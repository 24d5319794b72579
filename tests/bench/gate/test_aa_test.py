"""A against A: what it leaves out instead of failing, and when it says that the comparison cries wolf."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from bench.cli import regress as cli_regress
from bench.gate import aa_test as itself
from bench.gate.aa_test import Found, found_in
from bench.gate.margins import NoiseError
from tests.bench.fake_gate import write_run

STOPS = {"postgres-push": 2.0}


def two_sides(tmp_path: Path, **more: Any) -> list[Path]:
    names = (("a", 1), ("b", 2))
    return [write_run(tmp_path / name, stop_ms=STOPS, seed=seed, **({"blocks": 40} | more)) for name, seed in names]


def test_a_metric_of_too_few_pairs_is_told_and_not_used(tmp_path: Path) -> None:
    """PostgreSQL's operations are counted in the first block only."""
    found = found_in(two_sides(tmp_path, ops_in=(0,)))
    assert "store_ops_per_token: 1 pairs, not used (10 are needed)" in found.left_out
    assert "store_ops_per_token" not in found.record["metrics"]
    assert found.record["metrics"]["upstream_stop_ms"]["pairs"] == 40


def test_unwell_blocks_are_no_noise(tmp_path: Path) -> None:
    found = found_in(two_sides(tmp_path, sick=(3, 5)))
    assert found.record["metrics"]["upstream_stop_ms"]["pairs"] == 38
    assert any("2 blocks of cases left out" in line for line in found.left_out)


def test_without_any_usable_pair_there_is_no_noise(tmp_path: Path) -> None:
    with pytest.raises(NoiseError, match="let `bench aa` measure more blocks"):
        found_in(two_sides(tmp_path, blocks=4))


def alarm(rate: float | None, uncorrected: float | None) -> dict[str, Any]:
    return {"comparisons": 20 if rate is not None else 0, "alarms": 2, "rate": rate, "uncorrected": uncorrected}


def found(rate: float | None) -> Found:
    record = {"metrics": {"ttft_ms": {"pairs": 40, "spread": 0.02}}}
    return Found(record, {"redis-push in flowing": alarm(rate, None if rate is None else 0.15)}, problems=[])


def test_the_table_shows_the_rate_before_and_after_the_correction() -> None:
    console = Console(width=120, record=True, file=StringIO())
    console.print(found(0.10).table())
    console.print(found(None).table())
    said = console.export_text()
    assert "2 (10%; uncorrected 15%)" in said
    assert "too few blocks" in said


@pytest.mark.parametrize(("rate", "code"), [(0.10, 1), (0.05, 0), (0.0, 0), (None, 0)])
def test_more_than_one_false_alarm_in_twenty_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float | None, code: int
) -> None:
    done = aa(tmp_path, monkeypatch, lambda _self, _blocks: found(rate))
    assert done.exit_code == code, done.output
    assert ("redis-push in flowing" in done.stderr) == (code == 1)
    assert json.loads((tmp_path / "noise.json").read_text())["metrics"]["ttft_ms"]["pairs"] == 40


def test_too_little_noise_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_self: object, _blocks: int) -> Found:
        raise NoiseError("no metric has 10 usable A/A pairs")

    done = aa(tmp_path, monkeypatch, measure)
    assert (done.exit_code, done.stderr) == (2, "bench: no metric has 10 usable A/A pairs\n")


def aa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: Any) -> Any:
    monkeypatch.setattr(itself.Itself, "run", measure)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(cli_regress.aa)
    return CliRunner().invoke(app, ["--results", str(tmp_path), "--noise", str(tmp_path / "noise.json")])
