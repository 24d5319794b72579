"""Two services of other people, measured by the command line: what only their rows have is in summary.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.analysis import chat_outcome
from bench.report import render
from bench.run import meter
from tests.bench.command import run_here
from tests.bench.small_runs import shrink_the_instrument

HERE = Path(__file__).parent
SCENARIO = """
sentence = "Answers of 3 s, stopped early."
ttft_ms = 50
itl_ms = 20
output_tokens = 150
streams = 4
chats = 8
abort_share = 1.0
abort_from_ms = 300
abort_until_ms = 600
"""


def test_what_only_foreign_targets_have_is_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shrink_the_instrument(monkeypatch)
    monkeypatch.setattr(render, "draw_all", lambda *_: [])  # what takes longest, and is tested elsewhere
    for module in (chat_outcome, meter):
        monkeypatch.setattr(module, "LEAK_S", 2.0)
    (tmp_path / "early.toml").write_text(SCENARIO)
    targets = f"{HERE}/signed.toml/cancel,{HERE}/form.toml"
    secret = "hunter2 hunter2"
    done = run_here(
        capsys, "run", "--strategy", targets, "--scenario", str(tmp_path / "early.toml"), "--quick",
        "--results", str(tmp_path / "results"), FAKE_PASSWORD=secret,
    )  # fmt: skip
    assert done.returncode in (0, 2), done.stderr  # 2: a busy machine, or a missed abort
    (folder,) = [path for path in (tmp_path / "results").iterdir() if path.is_dir() and not path.is_symlink()]
    summary = json.loads((folder / "summary.json").read_text())
    cases = {case["strategy"]: case for case in summary["cases"] if case["scenario"] == "early"}
    assert set(cases) == {"signed/cancel", "form/pretend"}
    _honest(cases["signed/cancel"])
    _dishonest(cases["form/pretend"])
    for path in folder.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def _honest(case: dict[str, Any]) -> None:
    assert (case["chats"], case["aborts"], case["missed"], case["dishonest"], case["leaked"]) == (8, 8, 0, 0, 0)
    metrics = case["metrics"]
    assert metrics["queue_ms"]["n"] == metrics["upstream_open_s"]["n"] == metrics["upstream_stop_ms"]["n"] == 8
    assert metrics["next_ttft_ms"]["n"] == 4
    assert metrics["next_ttft_ms"]["mean"] >= 50
    assert 0 < metrics["upstream_open_s"]["p50"] < 2


def _dishonest(case: dict[str, Any]) -> None:
    assert (case["aborts"], case["missed"], case["dishonest"], case["leaked"]) == (8, 8, 8, 8)
    assert case["metrics"]["upstream_open_s"]["p50"] == 2.0
