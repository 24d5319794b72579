"""The gate on a repository that is not ours, in as many blocks as a verdict needs: green, and red for slower stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.foreign_repository import repository, run_action

pytestmark = pytest.mark.timeout(900)
ASKED = {"base": "main", "target": "stop.toml", "scenario": "flowing-long,steady"}


@pytest.mark.parametrize(("fault", "code"), [("none", 0), ("slow", 1)])
def test_a_comment_is_green_and_50_ms_are_red(tmp_path: Path, fault: str, code: int) -> None:
    done = run_action(repository(tmp_path, fault), tmp_path, **ASKED)
    assert done.code == code, done.text
    assert done.outputs["verdict"] in (("worse",) if code else ("equivalent", "better", "inconclusive")), done.text
    (file,) = done.results.glob("*-regress-head/verdict.json")
    verdict = json.loads(file.read_text())
    judged = {each["metric"] for each in verdict["findings"]}
    assert {"upstream_stop_ms", "ttft_ms", "server_cpu_us_per_token"} <= judged
    assert ("upstream_stop_ms" in {each["metric"] for each in verdict["rules"]}) == (fault == "slow")
