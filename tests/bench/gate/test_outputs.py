"""What a gate says to machines and people, from the same outcome: verdict, record, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench.gate.export import record, write, write_failure
from bench.gate.family import decide_all
from bench.gate.margins import DEFAULTS
from bench.gate.outcome import Outcome
from bench.gate.rules import broken_rules
from bench.gate.verdict_text import github_annotations, junit, markdown, smaller_is_better
from bench.record.base import encode_file, read_file
from bench.record.verdict import VerdictRecord
from bench.stats.proportions import Losses
from tests.bench.fake_gate import PUSH, TIMER, counts


def as_json(outcome: Outcome) -> Any:
    """What verdict.json holds."""
    return json.loads(encode_file(record(outcome)))


def test_one_of_each(outcome: Outcome) -> None:
    verdicts = {(each.case, each.metric): each.decision.verdict for each in outcome.findings}
    assert verdicts == {
        (PUSH, "upstream_stop_ms"): "worse",
        (PUSH, "ttft_ms"): "better",
        (TIMER, "upstream_stop_ms"): "equivalent",
        (PUSH, "chats_per_s"): "inconclusive",
    }


@pytest.mark.parametrize(
    ("without", "verdict", "code"),
    [((), "worse", 1), (("worse",), "inconclusive", 3), (("worse", "inconclusive"), "better", 0),
     (("worse", "inconclusive", "better"), "equivalent", 0),
     (("worse", "inconclusive", "better", "equivalent"), "invalid", 2)],
)  # fmt: skip
def test_the_worst_that_was_shown_is_the_verdict(
    outcome: Outcome, without: tuple[str, ...], verdict: str, code: int
) -> None:
    rest = replace(outcome, findings=[each for each in outcome.findings if each.decision.verdict not in without])
    assert (rest.verdict, rest.exit_code) == (verdict, code)


def test_an_invalid_side_ends_it_but_a_broken_rule_of_head_does_not_hide_behind_it(outcome: Outcome) -> None:
    broken = broken_rules({}, counts(leaked=1))
    assert replace(outcome, base_problems=["overloaded"]).verdict == "invalid"
    assert replace(outcome, head_problems=["overloaded"]).verdict == "invalid"
    assert replace(outcome, head_problems=["2 % failed"], broken=broken).verdict == "worse"
    assert replace(outcome, base_problems=["overloaded"], broken=broken).verdict == "invalid"
    assert replace(outcome, findings=outcome.having("equivalent"), broken=broken).exit_code == 1


def test_the_record_names_every_rule_that_fired(outcome: Outcome) -> None:
    kept = as_json(replace(outcome, broken=broken_rules(counts(), counts(missed=2))))
    assert (kept["schema"], kept["verdict"], kept["exit_code"], kept["blocks"]) == (1, "worse", 1, 6)
    assert (kept["base"]["commit"], kept["head"]["commit"]) == ("0123abc", "4567def")
    assert [rule["rule"] for rule in kept["rules"]] == ["missed", "worse"]
    missed, worse = kept["rules"]
    assert missed["effect"] == {"base": 0, "head": 2}
    assert (worse["metric"], worse["scenario"], worse["strategy"]) == ("upstream_stop_ms", "flowing", "redis-push")
    assert worse["effect"]["shift"] == pytest.approx(5, abs=0.1)
    low, high = worse["interval"]["shift"]
    assert low <= worse["effect"]["shift"] <= high
    assert worse["margin"] == {"share": 0.15, "slack": 0.5, "higher_is_better": False}
    assert all(rule["sentence"] for rule in kept["rules"])
    assert len(kept["findings"]) == 4


def test_a_metric_without_blocks_is_written_as_json_too(outcome: Outcome) -> None:
    empty = decide_all({(PUSH, "ttft_ms"): {0: 2.0}}, {}, DEFAULTS)
    kept = as_json(replace(outcome, findings=empty))
    assert kept["findings"][0]["effect"] == {"ratio": None, "shift": None}
    assert kept["findings"][0]["sentence"] == "redis-push in flowing, 2 workers: no ttft_ms in head"


def test_an_invalid_measurement_claims_nothing(outcome: Outcome) -> None:
    """Not in JSON, not in JUnit, not in an annotation: whatever head seems to have broken is shown, and not claimed."""
    broken = broken_rules({}, counts(missed=1))
    invalid = replace(outcome, base_problems=["2 % failed"], broken=broken)
    assert invalid.verdict == "invalid"
    kept = as_json(invalid)
    assert (kept["rules"], [each["rule"] for each in kept["unproven"]]) == ([], ["missed"])
    assert {each["verdict"] for each in kept["findings"]} == {"inconclusive"}
    suite = ET.fromstring(junit(invalid))
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "1", "5")
    assert not any(line_.startswith("::error") for line_ in github_annotations(invalid))
    assert "❌" not in markdown(invalid)
    assert "unproven: redis-push in flowing, 2 workers: 1 aborts" in markdown(invalid)


def test_a_rule_that_was_broken_only_in_excluded_blocks_is_shown_and_not_claimed(outcome: Outcome) -> None:
    fine = replace(outcome, findings=outcome.having("equivalent"), unproven_rules=broken_rules({}, counts(missed=1)))
    kept = as_json(fine)
    assert (kept["verdict"], kept["rules"], kept["unproven"][0]["rule"]) == ("inconclusive", [], "missed")
    assert ET.fromstring(junit(fine)).get("failures") == "0"
    assert github_annotations(fine)[0].startswith("::warning title=inconclusive::")


def test_how_many_losses_could_have_gone_unseen(outcome: Outcome) -> None:
    fine = replace(outcome, findings=outcome.having("equivalent"))
    losses = {"redis-push": Losses(0, 600), "postgres-push": Losses(0, 540)}
    told = replace(fine, losses=losses)
    assert told.sentence.endswith("; 0 of 1,140 aborts lost: at most 0.26 % (95 %))")
    kept = as_json(told)["losses"]
    assert (kept["lost"], kept["aborts"], kept["level"]) == (0, 1140, 0.95)
    assert kept["at_most"] == pytest.approx(1 - 0.05 ** (1 / 1140), abs=1e-6)
    assert kept["strategies"]["redis-push"]["at_most"] == pytest.approx(1 - 0.05 ** (1 / 600), abs=1e-6)
    assert told.sentence in markdown(told)
    assert "lost" not in fine.sentence  # without aborts nothing could have been lost
    assert Losses(3, 3).at_most == Losses(0, 0).at_most == 1


def test_what_broke_off_says_so_where_machines_look(tmp_path: Path) -> None:
    summary, outputs, folder = tmp_path / "summary.md", tmp_path / "outputs", tmp_path / "gate"
    environ = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs)}
    write_failure("BASE 'gone' is no commit here", 4, None, environ)
    assert "BASE 'gone' is no commit here" in summary.read_text()
    assert outputs.read_text() == "verdict=invalid\nexit-code=4\nmeasured=false\n"
    write_failure("could not measure", 2, folder, environ)
    assert not folder.exists()  # nothing was measured, so there is no run to judge
    folder.mkdir()
    write_failure("could not measure: server died", 2, folder, environ)
    kept = json.loads((folder / "verdict.json").read_text())
    assert (kept["verdict"], kept["exit_code"]) == ("invalid", 2)
    assert kept["problems"]["instrument"] == ["could not measure: server died"]
    assert ET.parse(folder / "verdict.xml").getroot().get("errors") == "1"


def test_the_files_and_what_github_gets(outcome: Outcome, tmp_path: Path) -> None:
    summary, outputs, said = tmp_path / "summary.md", tmp_path / "outputs", list[str]()
    summary.write_text("# before\n")
    environ = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs), "GITHUB_ACTIONS": "true"}
    files = write(outcome, tmp_path / "gate", said.append, environ)
    assert [path.name for path in files] == ["verdict.json", "verdict.xml", "verdict.md", "benchmark.json"]
    assert read_file(files[0], VerdictRecord) == record(outcome)
    assert ET.parse(files[1]).getroot().tag == "testsuite"
    assert json.loads(files[3].read_text()) == smaller_is_better(outcome)
    assert summary.read_text() == "# before\n" + files[2].read_text()
    assert outputs.read_text() == "verdict=worse\nexit-code=1\nmeasured=true\nhead-only=false\n"
    assert said == github_annotations(outcome)


def test_elsewhere_there_are_no_annotations(outcome: Outcome, tmp_path: Path) -> None:
    said: list[str] = []
    write(outcome, tmp_path, said.append, {})
    assert said == []
    assert len(list(tmp_path.iterdir())) == 4


def test_a_measurement_that_head_alone_made_invalid_is_marked() -> None:
    assert Outcome(head_problems=["2 % of the chats failed"]).head_only
    assert not Outcome(head_problems=["x"], base_problems=["x"]).head_only
    assert not Outcome(head_problems=["x"], instrument_problems=["y"]).head_only
