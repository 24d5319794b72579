"""The outcome as JUnit XML, which every CI shows: a test case per metric and case, failed where head is worse."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.gate.outcome import Outcome
from bench.gate.verdict_text import sentence

SUITE = "bench gate"


def junit(outcome: Outcome) -> str:
    """A `testsuite`: failures for worse metrics and broken rules, skipped for inconclusive, an error when invalid.

    What an invalid measurement, or a block that is no evidence, seems to show is skipped.
    """
    suite = ET.Element("testsuite", name=SUITE)
    for fired in (*outcome.rules, *outcome.unproven):
        place = f"{fired.case.scenario}.{fired.case.strategy}.{fired.case.workers}"
        test = ET.SubElement(suite, "testcase", classname=place, name=fired.rule)
        if fired in outcome.rules:
            ET.SubElement(test, "failure", type="zero tolerance", message=_clean(fired.sentence))
        else:
            ET.SubElement(test, "skipped", message=_clean(f"no evidence: {fired.sentence}"))
    for finding in outcome.judged:
        place = f"{finding.case.scenario}.{finding.case.strategy}.{finding.case.workers}"
        test = ET.SubElement(suite, "testcase", classname=place, name=finding.metric)
        said = _clean(sentence(finding, outcome))
        if finding.decision.verdict == "worse":
            ET.SubElement(test, "failure", type="worse", message=said)
        elif finding.decision.verdict == "inconclusive":
            ET.SubElement(test, "skipped", message=said)
        else:
            ET.SubElement(test, "system-out").text = said
    if outcome.verdict == "invalid":
        test = ET.SubElement(suite, "testcase", classname="measurement", name="valid")
        ET.SubElement(test, "error", type="invalid", message=_clean(outcome.sentence))
    for kind, name in (("failure", "failures"), ("skipped", "skipped"), ("error", "errors")):
        suite.set(name, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """Control characters cannot stand in XML, not even escaped."""
    return "".join(sign if sign >= " " else " " for sign in text)
