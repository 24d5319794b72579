"""JUnit, annotations, Markdown and the terminal: what each shows of an outcome, and what no name can break."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from xml.etree import ElementTree as ET

from rich.console import Console

from bench.analysis.reading import CaseKey
from bench.gate.outcome import Outcome
from bench.gate.rules import broken_rules
from bench.gate.verdict_text import github_annotations, junit, markdown, show, smaller_is_better
from tests.bench.fake_gate import counts


def test_junit_fails_skips_and_passes(outcome: Outcome) -> None:
    broken = broken_rules({}, counts(missed=1))
    suite = ET.fromstring(junit(replace(outcome, broken=broken)))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped"), suite.get("errors")) == (
        "5",
        "2",
        "1",
        "0",
    )
    kinds = {(test.get("name"), test.get("classname")): [part.tag for part in test] for test in suite}
    assert kinds == {
        ("missed", "flowing.redis-push.2"): ["failure"],
        ("upstream_stop_ms", "flowing.redis-push.2"): ["failure"],
        ("ttft_ms", "flowing.redis-push.2"): ["system-out"],
        ("upstream_stop_ms", "flowing.redis-timer.2"): ["system-out"],
        ("chats_per_s", "flowing.redis-push.2"): ["skipped"],
    }
    invalid = ET.fromstring(junit(replace(outcome, base_problems=["a bell \x07 & a <tag>"])))
    assert invalid.get("errors") == "1"


def test_annotations_escape_what_would_end_them(outcome: Outcome) -> None:
    nasty = CaseKey("a,b:c", "50%\r\n::error::", 2, 50)
    finding = outcome.having("worse")[0]._replace(case=nasty)
    (line_,) = github_annotations(replace(outcome, findings=[finding]))
    title, _, text = line_.removeprefix("::error title=").partition("::")
    assert title == "upstream_stop_ms%3A a%2Cb%3Ac in 50%25%0D%0A%3A%3Aerror%3A%3A%2C 2 workers"
    assert "\n" not in line_
    assert "\r" not in line_
    assert "%25" in text


def test_annotations_say_why_there_is_no_verdict(outcome: Outcome) -> None:
    open_ = replace(outcome, findings=outcome.having("inconclusive"))
    assert github_annotations(open_)[0].startswith("::warning title=inconclusive::")
    invalid = github_annotations(replace(outcome, base_problems=["the mock could not keep its pace"]))
    assert invalid == [
        "::warning title=measurement invalid::the measurement is invalid: the mock could not keep its pace"
    ]
    assert github_annotations(replace(outcome, findings=outcome.having("equivalent"))) == []


def test_no_more_annotations_than_github_shows(outcome: Outcome) -> None:
    many = [each for n in range(30) for each in broken_rules({}, counts(f"redis-{n}", missed=1))]
    assert len(github_annotations(replace(outcome, broken=many))) == 10


def test_markdown_cannot_be_broken_by_a_name(outcome: Outcome) -> None:
    nasty = CaseKey("<script>|x", "a\nb", 2, 50)
    page = markdown(replace(outcome, findings=[each._replace(case=nasty) for each in outcome.findings]))
    assert "<script>" not in page
    rows = [line_ for line_ in page.splitlines() if line_.startswith("|")]
    assert {line_.replace("\\|", "").count("|") for line_ in rows} == {11}


def test_junit_cannot_be_broken_by_a_name(outcome: Outcome) -> None:
    nasty = CaseKey("<b>&\"'", "a\x07\nb", 2, 50)
    broken = [replace(each, case=nasty) for each in broken_rules({}, counts(missed=1))]
    findings = [each._replace(case=nasty) for each in outcome.findings]
    suite = ET.fromstring(junit(replace(outcome, findings=findings, broken=broken)))
    assert {test.get("classname") for test in suite} == {"a  b.<b>&\"'.2"}
    assert any("<b>&\"' in a" in str(part.get("message")) for part in suite.iter("failure"))


def test_markdown_tells_the_verdict_first_and_folds_what_did_not_change(outcome: Outcome) -> None:
    page = markdown(outcome)
    assert page.startswith("## ❌ worse\n\nhead is worse than base (1 worse, 1 better, 1 equivalent, 1 inconclusive")
    assert "<details><summary>1 equivalent</summary>" in page
    assert page.index("redis-push") < page.index("<details>") < page.index("redis-timer")


def test_what_github_action_benchmark_reads(outcome: Outcome) -> None:
    entries = smaller_is_better(outcome)
    assert [entry["name"] for entry in entries] == [
        "upstream_stop_ms: redis-push in flowing, 2 workers",
        "ttft_ms: redis-push in flowing, 2 workers",
        "upstream_stop_ms: redis-timer in flowing, 2 workers",
    ]  # chats_per_s is better when larger
    assert all(set(entry) == {"name", "unit", "value", "range", "extra"} for entry in entries)
    assert (entries[0]["value"], entries[0]["unit"], entries[0]["range"]) == (7.0, "ms", "6.9 to 7.1")


def test_the_terminal_ends_with_the_verdict(outcome: Outcome) -> None:
    console = Console(file=StringIO(), width=80)
    show(replace(outcome, broken=broken_rules({}, counts(missed=1))), console)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[-1].startswith("verdict: worse: head is worse than base (1 zero-tolerance rule broken; 1 worse")
    assert any("1 aborts that were accepted" in line_ for line_ in lines)
    assert any("equivalent" in line_ and "1 more" in line_ for line_ in lines)
