"""Write the outcome of a gate: verdict.json and .xml and .md, benchmark.json, GitHub's summary and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import UNSET, UnsetType

from bench.analysis.reading import case_name
from bench.gate import verdict_text
from bench.gate.family import Finding
from bench.gate.outcome import Outcome
from bench.gate.rules import BrokenRule
from bench.record import verdict as records
from bench.record.base import encode_file
from bench.stats.proportions import LEVEL, Losses

RECORD, JUNIT, SUMMARY, BENCHMARK = "verdict.json", "verdict.xml", "verdict.md", "benchmark.json"


def record(outcome: Outcome) -> records.VerdictRecord:
    """The contents of verdict.json."""
    return records.VerdictRecord(
        verdict=outcome.verdict,
        exit_code=outcome.exit_code,
        sentence=outcome.sentence,
        mode=outcome.mode,
        blocks=outcome.blocks,
        rules=[*map(_broken, outcome.rules), *(_finding(each, outcome, "worse") for each in outcome.having("worse"))],
        findings=[_finding(each, outcome) for each in outcome.claimed],
        unproven=[_broken(each) for each in outcome.unproven],
        doubts=list(outcome.doubts),
        losses=records.LossSummary(
            **msgspec.structs.asdict(_losses(outcome.lost)),
            level=LEVEL,
            sentence=outcome.lost.sentence,
            strategies={name: _losses(each) for name, each in outcome.losses.items()},
        ),
        problems=records.VerdictProblems(
            base=list(outcome.base_problems),
            head=list(outcome.head_problems),
            instrument=list(outcome.instrument_problems),
        ),
        notes=list(outcome.notes),
        margins=outcome.margin_source,
        base=outcome.base,
        head=outcome.head,
    )


def write(
    outcome: Outcome, folder: Path, say: Callable[[str], None], environ: Mapping[str, str] = os.environ
) -> list[Path]:
    """Write the four files into `folder` and return them. Raises OSError; then the old files stay.

    On GitHub also the step summary, the outputs (`verdict`, `exit-code`, `measured`, `head-only`) and, with `say`,
    annotations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = verdict_text.markdown(outcome)
    files = {
        RECORD: encode_file(record(outcome)),
        JUNIT: verdict_text.junit(outcome).encode(),
        SUMMARY: page.encode(),
        BENCHMARK: encode_file(verdict_text.smaller_is_better(outcome)),
    }
    _write_all(folder, files)
    _to_github(environ, page, outcome, outcome.exit_code, measured=True)
    for line in verdict_text.github_annotations(outcome) if environ.get("GITHUB_ACTIONS") else ():
        say(line)
    return [folder / name for name in files]


def write_failure(reason: str, code: int, folder: Path | None, environ: Mapping[str, str] = os.environ) -> None:
    """Write that nothing was measured and why: for GitHub, and as verdict.json and verdict.xml if `folder` exists.

    `code` is the exit code of the program. Raises OSError; then the old files stay.
    """
    outcome = Outcome(instrument_problems=[reason])
    _to_github(environ, verdict_text.markdown(outcome), outcome, code, measured=False)
    if folder is not None and folder.is_dir():
        verdict = msgspec.structs.replace(record(outcome), exit_code=code)
        _write_all(folder, {RECORD: encode_file(verdict), JUNIT: verdict_text.junit(outcome).encode()})


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or, on a full disk, none."""
    with TemporaryDirectory(dir=folder, prefix=".verdict-") as scratch:
        for name, data in files.items():
            Path(scratch, name).write_bytes(data)
        for name in files:
            Path(scratch, name).replace(folder / name)


def _to_github(environ: Mapping[str, str], page: str, outcome: Outcome, code: int, *, measured: bool) -> None:
    outputs = f"verdict={outcome.verdict}\nexit-code={code}\nmeasured={str(measured).lower()}\n"
    if measured:
        outputs += f"head-only={str(outcome.head_only).lower()}\n"
    for name, text in (("GITHUB_STEP_SUMMARY", page), ("GITHUB_OUTPUT", outputs)):
        if path := environ.get(name):
            with Path(path).open("a", encoding="utf-8") as lines:
                lines.write(text)


def _broken(broken: BrokenRule) -> records.JudgedRow:
    return records.JudgedRow(
        rule=broken.rule,
        metric=broken.rule,
        **broken.case._asdict(),
        case=case_name(broken.case),
        effect=records.Effect(base=broken.base, head=broken.head),
        margin=records.Limit(allowed=0) if broken.p is None else records.Limit(p=round(broken.p, 6)),
        sentence=broken.sentence,
    )


def _finding(finding: Finding, outcome: Outcome, rule: str | UnsetType = UNSET) -> records.JudgedRow:
    decision, margin = finding.decision, finding.decision.margin
    return records.JudgedRow(
        rule=rule,
        metric=finding.metric,
        **finding.case._asdict(),
        case=case_name(finding.case),
        verdict=decision.verdict,
        unit=outcome.unit(finding.metric),
        blocks=decision.blocks,
        changes=[round(each, 6) for each in decision.changes] or UNSET,
        base=_rounded(decision.base),
        head=_rounded(decision.head),
        effect=records.Effect(ratio=_rounded(decision.ratio), shift=_rounded(decision.shift)),
        interval=records.EffectInterval(
            ratio=_ends(decision.interval("ratio")), shift=_ends(decision.interval("shift"))
        ),
        margin=records.Limit(
            share=round(margin.share, 6), slack=round(margin.slack, 6), higher_is_better=margin.higher_is_better
        ),
        p=records.PValues(worse=_rounded(decision.p_worse), better=_rounded(decision.p_better)),
        power=_rounded(decision.power),
        sentence=verdict_text.sentence(finding, outcome),
    )


def _losses(losses: Losses) -> records.LossCount:
    return records.LossCount(lost=losses.lost, aborts=losses.aborts, at_most=round(losses.at_most, 6))


def _ends(interval: records.Ends) -> records.Ends:
    return _rounded(interval[0]), _rounded(interval[1])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
