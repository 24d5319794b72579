"""Write the outcome of a gate: verdict.json and .xml and .md, benchmark.json, GitHub's summary and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import UNSET, UnsetType

from bench.analysis.reading import case_name
from bench.gate.family import Finding
from bench.gate.outcome import Outcome
from bench.gate.verdict_text import github_annotations, junit, markdown, sentence, smaller_is_better
from bench.gate.zero_tolerance import BrokenRule
from bench.record.base import encode_file
from bench.record.verdict import (
    Effect,
    EffectInterval,
    JudgedRow,
    Limit,
    LossCount,
    LossSummary,
    PValues,
    VerdictProblems,
    VerdictRecord,
)
from bench.stats.proportions import LEVEL, Losses

RECORD, JUNIT, SUMMARY, BENCHMARK = "verdict.json", "verdict.xml", "verdict.md", "benchmark.json"


def record(outcome: Outcome) -> VerdictRecord:
    """The contents of verdict.json."""
    losses = {name: _losses(each) for name, each in outcome.losses.items()}
    total = _losses(outcome.lost)
    return VerdictRecord(
        verdict=outcome.verdict,
        exit_code=outcome.exit_code,
        sentence=outcome.sentence,
        blocks=outcome.blocks,
        rules=[*map(_broken, outcome.rules), *(_finding(each, outcome, "worse") for each in outcome.having("worse"))],
        findings=[_finding(each, outcome) for each in outcome.claimed],
        unproven=[_broken(each) for each in outcome.unproven],
        doubts=list(outcome.doubts),
        losses=LossSummary(
            lost=total.lost,
            aborts=total.aborts,
            at_most=total.at_most,
            level=LEVEL,
            sentence=outcome.lost.sentence,
            strategies=losses,
        ),
        problems=VerdictProblems(
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

    On GitHub also the step summary, the outputs (`verdict`, `exit-code`, `measured`) and, with `say`, annotations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = markdown(outcome)
    files = {
        RECORD: encode_file(record(outcome)),
        JUNIT: junit(outcome).encode(),
        SUMMARY: page.encode(),
        BENCHMARK: encode_file(smaller_is_better(outcome)),
    }
    _write_all(folder, files)
    _to_github(environ, page, outcome.verdict, outcome.exit_code, measured=True)
    if environ.get("GITHUB_ACTIONS"):
        for line in github_annotations(outcome):
            say(line)
    return [folder / name for name in files]


def write_failure(reason: str, code: int, folder: Path | None, environ: Mapping[str, str] = os.environ) -> None:
    """Write that nothing was measured and why: for GitHub, and as verdict.json and verdict.xml if `folder` exists.

    `code` is the exit code of the program. Raises OSError; then the old files stay.
    """
    outcome = Outcome(instrument_problems=[reason])
    _to_github(environ, markdown(outcome), outcome.verdict, code, measured=False)
    if folder is not None and folder.is_dir():
        verdict = record(outcome)
        verdict.exit_code = code
        _write_all(folder, {RECORD: encode_file(verdict), JUNIT: junit(outcome).encode()})


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or, on a full disk, none."""
    scratch = {folder / f".{name}.part": folder / name for name in files}
    try:
        for part, target in scratch.items():
            part.write_bytes(files[target.name])
    except OSError:
        for part in scratch:
            with suppress(OSError):
                part.unlink()
        raise
    for part, target in scratch.items():
        part.replace(target)


def _to_github(environ: Mapping[str, str], page: str, verdict: str, code: int, *, measured: bool) -> None:
    outputs = f"verdict={verdict}\nexit-code={code}\nmeasured={'true' if measured else 'false'}\n"
    for name, text in (("GITHUB_STEP_SUMMARY", page), ("GITHUB_OUTPUT", outputs)):
        if path := environ.get(name):
            with Path(path).open("a", encoding="utf-8") as lines:
                lines.write(text)


def _broken(broken: BrokenRule) -> JudgedRow:
    return JudgedRow(
        rule=broken.rule,
        metric=broken.rule,
        **broken.case._asdict(),
        case=case_name(broken.case),
        effect=Effect(base=broken.base, head=broken.head),
        margin=Limit(allowed=0) if broken.p is None else Limit(p=round(broken.p, 6)),
        sentence=broken.sentence,
    )


def _finding(finding: Finding, outcome: Outcome, rule: str | UnsetType = UNSET) -> JudgedRow:
    decision = finding.decision
    (low, high), (low_shift, high_shift) = decision.interval("ratio"), decision.interval("shift")
    return JudgedRow(
        rule=rule,
        metric=finding.metric,
        **finding.case._asdict(),
        case=case_name(finding.case),
        verdict=decision.verdict,
        unit=outcome.unit(finding.metric),
        blocks=decision.blocks,
        base=_rounded(decision.base),
        head=_rounded(decision.head),
        effect=Effect(ratio=_rounded(decision.ratio), shift=_rounded(decision.shift)),
        interval=EffectInterval(
            ratio=(_rounded(low), _rounded(high)), shift=(_rounded(low_shift), _rounded(high_shift))
        ),
        margin=Limit(
            share=round(decision.margin.share, 6),
            slack=round(decision.margin.slack, 6),
            higher_is_better=decision.margin.higher_is_better,
        ),
        p=PValues(worse=_rounded(decision.p_worse), better=_rounded(decision.p_better)),
        power=_rounded(decision.power),
        sentence=sentence(finding, outcome),
    )


def _losses(losses: Losses) -> LossCount:
    return LossCount(lost=losses.lost, aborts=losses.aborts, at_most=_rounded(losses.at_most))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
